// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin of QEMU's TCG: how many instructions the guest executes in each call of some
 * functions, from the first of the function to the one behind the call.
 *
 *   -plugin count.so,out=FILE,at=ADDRESS,at=ADDRESS...
 *
 * Writes "INDEX INSTRUCTIONS" a call, in the order in which they return; INDEX counts the
 * functions as they were given.  What interrupts a call is counted with it.  One processor.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of QEMU's plugin interface (docs/devel/tcg-plugins.rst), what is used here: no package has its header. */
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translated_fn)(uint64_t id, struct qemu_plugin_tb *tb);
typedef void (*executed_fn)(unsigned int cpu, void *data);
typedef void (*exit_fn)(uint64_t id, void *data);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_fn call);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, executed_fn call, int flags,
						 void *data);
extern void qemu_plugin_register_atexit_cb(uint64_t id, exit_fn call, void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

#define EXPORTED __attribute__((visibility("default")))
#define NO_REGISTERS 0
#define MOST_FUNCTIONS 32
#define DEEPEST 64

EXPORTED int qemu_plugin_version = 1;

/* A translated block: where it begins, what follows its last instruction. */
struct block {
	uint64_t begin, end, instructions;
	int function;
};

struct call {
	uint64_t back, since;
	int function;
};

static uint64_t functions[MOST_FUNCTIONS];
static int function_count;
static FILE *out;
static uint64_t executed, last_end;
static struct call calls[DEEPEST];
static int depth;

static void run_block(unsigned int cpu, void *data)
{
	const struct block *block = data;
	int i;

	(void)cpu;
	for (i = depth - 1; i >= 0; i--) {
		if (calls[i].back != block->begin)
			continue;
		fprintf(out, "%d %" PRIu64 "\n", calls[i].function, executed - calls[i].since);
		/* Other calls may go on: of a task that was preempted. */
		memmove(&calls[i], &calls[i + 1], (depth - i - 1) * sizeof(calls[0]));
		depth--;
		break;
	}
	if (block->function >= 0 && depth < DEEPEST)
		calls[depth++] = (struct call){ last_end, executed, block->function };
	executed += block->instructions;
	last_end = block->end;
}

static void translate(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);
	struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, count - 1);
	/* Blocks are few, and QEMU may run one as long as it lives. */
	struct block *block = malloc(sizeof(*block));
	int i;

	(void)id;
	if (!block)
		abort();
	block->begin = qemu_plugin_tb_vaddr(tb);
	block->end = qemu_plugin_insn_vaddr(last) + qemu_plugin_insn_size(last);
	block->instructions = count;
	block->function = -1;
	for (i = 0; i < function_count; i++)
		if (functions[i] == block->begin)
			block->function = i;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, run_block, NO_REGISTERS, block);
}

static void finish(uint64_t id, void *data)
{
	(void)id;
	(void)data;
	fclose(out);
}

EXPORTED int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
		else if (!strncmp(argv[i], "at=", 3) && function_count < MOST_FUNCTIONS)
			functions[function_count++] = strtoull(argv[i] + 3, NULL, 0);
	}
	if (!out || !function_count)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
