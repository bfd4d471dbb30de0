// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exercises a block device, one slot (a page of it) at a time, and knows to the byte
 * what each slot must hold.
 *
 *   zblk create  --device=D --state=F --slots=N --seed=S [--slot-bytes=B]
 *   zblk write   --device=D --state=F --mix=M [selection] [manner]
 *   zblk discard --device=D --state=F [selection] [manner]
 *   zblk verify  --device=D --state=F [selection] [manner]
 *   zblk churn   --device=D --state=F --mix=M --writers=N --readers=N
 *                --operations=N [--seconds=N] [manner]
 *
 * selection: --from=A --to=B --step=N, the slots A, A+N, ... below B (all of them)
 * manner:    --cpu=N        run there only
 *            --batch=N      up to N neighbouring slots in one I/O (1)
 *            --io-bytes=N   transfer in pieces of N bytes (whole slots)
 *            --misalign=N   buffers that start N bytes behind a page boundary (0)
 *            --failing      allocations of this task may fail during I/O, as fault injection is set
 *            --zero-out     discard by asking for zeros
 *            --edge=N       discard from N bytes behind a batch's start to N bytes before its end, which
 *                           leaves its first and its last slot as they are (0)
 *            --tolerate     an I/O error is counted, and its slot may hold either version
 *
 * The state file keeps two versions of each slot: what was last written with success
 * and what was last tried.  Every write, discards among them, makes a new version; a
 * slot has one writer, so a reader that races with it must see one of the versions
 * between the one that was complete before its read and the one that was begun after.
 * O_DIRECT is used wherever the device has it, so that zram works in the caller's own
 * context and the page cache is out of the way.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failing.h"
#include "report.h"

#define STATE_MAGIC 0x7a626c6b00000001u
#define BATCH_MAX 256u

struct slot {
	_Atomic uint32_t committed;
	_Atomic uint32_t pending;
};

struct state {
	uint64_t magic;
	uint64_t seed;
	uint64_t slots;
	uint64_t slot_bytes;
	struct slot slot[];
};

static struct {
	const char *device, *file;
	uint64_t slots, seed, slot_bytes;
	uint64_t from, to, step;
	uint64_t batch, io_bytes, misalign, edge;
	uint64_t writers, readers, operations, seconds;
	enum mix mix;
	int cpu;
	bool tolerate, zero_out, failing;
} options = { .to = UINT64_MAX, .step = 1, .batch = 1, .mix = MIXES, .cpu = -1 };

static struct state *state;
static int fd;
static bool is_block_device;

static struct mismatches mismatches = MISMATCHES_NONE;
static _Atomic uint64_t writes, reads, discards, errors, bytes_written, bytes_verified;
static _Atomic uint64_t writers_left;

static void state_map(bool create)
{
	size_t bytes = sizeof(struct state) + options.slots * sizeof(struct slot);
	int flags = O_RDWR | (create ? O_CREAT | O_TRUNC : 0);
	int file = open(options.file, flags, 0600);
	struct stat status;

	if (file < 0)
		die(STATUS_IO, errno, "%s", options.file);
	if (create && ftruncate(file, (off_t)bytes))
		die(STATUS_IO, errno, "%s", options.file);
	if (fstat(file, &status))
		die(STATUS_IO, errno, "%s", options.file);
	state = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (state == MAP_FAILED)
		die(STATUS_IO, errno, "%s", options.file);
	close(file);
	if (create) {
		state->magic = STATE_MAGIC;
		state->seed = options.seed;
		state->slots = options.slots;
		state->slot_bytes = options.slot_bytes;
	} else if (state->magic != STATE_MAGIC) {
		die(STATUS_USAGE, 0, "%s: not a state file of this program", options.file);
	}
}

static void device_open(void)
{
	struct stat status;

	fd = open(options.device, O_RDWR | O_DIRECT);
	if (fd < 0 && errno == EINVAL)
		fd = open(options.device, O_RDWR);
	if (fd < 0 || fstat(fd, &status))
		die(STATUS_IO, errno, "%s", options.device);
	is_block_device = S_ISBLK(status.st_mode);
}

static off_t position(uint64_t slot)
{
	return (off_t)(slot * state->slot_bytes);
}

/* Move `bytes` between the buffer and the device, in pieces: 0 or an errno. */
static int transfer(bool write, unsigned char *buffer, size_t bytes, off_t at)
{
	size_t piece = options.io_bytes ? options.io_bytes : bytes;
	size_t done = 0;

	while (done < bytes) {
		size_t length = bytes - done < piece ? bytes - done : piece;
		off_t where = at + (off_t)done;
		ssize_t moved = write ? pwrite(fd, buffer + done, length, where)
				      : pread(fd, buffer + done, length, where);

		if (moved < 0 && errno == EINTR)
			continue;
		if (moved <= 0)
			return moved ? errno : EIO;
		done += (size_t)moved;
	}
	return 0;
}

static int discard(off_t at, size_t bytes)
{
	uint64_t range[2] = { (uint64_t)at, bytes };

	if (is_block_device)
		return ioctl(fd, options.zero_out ? BLKZEROOUT : BLKDISCARD, range) ? errno : 0;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)bytes) ? errno : 0;
}

static void failed(const char *what, uint64_t slot, int error)
{
	if (!options.tolerate)
		die(STATUS_IO, error, "%s: %s slot %" PRIu64, options.device, what, slot);
	errors++;
}

/*
 * A buffer for `batch` slots, as misaligned as was asked for.  It has its last page for
 * itself, so that a device that takes part of a page for all of it harms nothing else.
 */
static unsigned char *io_buffer(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = options.batch * state->slot_bytes + options.misalign;
	unsigned char *pages = aligned(page, (bytes + page - 1) / page * page);

	return pages + options.misalign;
}

static struct recipe recipe_at(uint64_t slot, uint32_t version)
{
	return recipe_of(state->seed, slot, version, state->slot_bytes);
}

/* Give `count` neighbouring slots their next versions from `mix`. */
static void store(uint64_t first, uint64_t count, enum mix mix, unsigned char *buffer)
{
	size_t bytes = state->slot_bytes;
	uint64_t edge = mix == MIX_DISCARD ? options.edge : 0;
	uint64_t from = edge ? 1 : 0, to = count > from ? count - from : from;
	uint32_t versions[count];
	bool empty;
	int error;

	for (uint64_t i = from; i < to; i++) {
		versions[i] = version_after(state->slot[first + i].pending, mix);
		state->slot[first + i].pending = versions[i];
	}
	/* A batch is written as a whole: what it stores nothing for is discarded after it. */
	empty = mix != MIX_DISCARD && count == 1 && recipe_at(first, versions[0]).kind == KIND_EMPTY;
	if (mix == MIX_DISCARD || empty) {
		error = discard(position(first) + (off_t)edge, count * bytes - 2 * edge);
		discards += to - from;
	} else {
		for (uint64_t i = 0; i < count; i++)
			content_fill(buffer + i * bytes, state->seed, first + i, versions[i], bytes);
		error = transfer(true, buffer, count * bytes, position(first));
		writes += count;
		for (uint64_t i = 0; !error && i < count; i++)
			if (recipe_at(first + i, versions[i]).kind == KIND_EMPTY) {
				error = discard(position(first + i), bytes);
				discards++;
			}
	}
	if (error) {
		failed(mix == MIX_DISCARD || empty ? "discarding" : "writing", first, error);
		return;
	}
	for (uint64_t i = from; i < to; i++)
		state->slot[first + i].committed = versions[i];
	if (mix != MIX_DISCARD && !empty)
		bytes_written += count * bytes;
}

/* Whether the page is a version from `low` to `high`; which one, in *found. */
static bool holds_one_of(const unsigned char *page, unsigned char *scratch, uint64_t slot, uint32_t low,
			 uint32_t high, uint32_t *found)
{
	uint32_t version = low;

	for (;;) {
		if (content_holds(page, scratch, state->seed, slot, version, state->slot_bytes, NULL)) {
			*found = version;
			return true;
		}
		if (version == high)
			return false;
		/* All versions of a run are drawn from one mix; only the first may be older. */
		version = version_after(version, high & (VERSION_STEP - 1));
		if (version > high)
			return false;
	}
}

/* Read `count` neighbouring slots and compare; at rest, settle what they hold. */
static void check(uint64_t first, uint64_t count, unsigned char *buffer, unsigned char *scratch, bool at_rest)
{
	size_t bytes = state->slot_bytes;
	uint32_t low[count], found;
	int error;

	for (uint64_t i = 0; i < count; i++)
		low[i] = state->slot[first + i].committed;
	error = transfer(false, buffer, count * bytes, position(first));
	reads += count;
	if (error) {
		failed("reading", first, error);
		return;
	}
	for (uint64_t i = 0; i < count; i++) {
		struct slot *slot = &state->slot[first + i];
		const unsigned char *page = buffer + i * bytes;
		uint32_t high = slot->pending;

		bytes_verified += bytes;
		if (!holds_one_of(page, scratch, first + i, low[i], high, &found))
			content_holds(page, scratch, state->seed, first + i, high, bytes, &mismatches);
		else if (at_rest)
			slot->committed = slot->pending = found;
	}
}

enum act { ACT_STORE, ACT_VERIFY };

static void each_selected(enum act act, enum mix mix)
{
	unsigned char *buffer = io_buffer();
	unsigned char *scratch = aligned(64, state->slot_bytes);
	uint64_t to = options.to < state->slots ? options.to : state->slots;
	uint64_t batch = options.step == 1 ? options.batch : 1;

	if (options.failing)
		make_it_fail(true);
	for (uint64_t slot = options.from; slot < to; slot += batch > 1 ? batch : options.step) {
		uint64_t count = to - slot < batch ? to - slot : batch;

		if (act == ACT_STORE)
			store(slot, count, mix, buffer);
		else
			check(slot, count, buffer, scratch, true);
	}
	if (options.failing)
		make_it_fail(false);
	free(buffer - options.misalign);
	free(scratch);
}

struct worker {
	pthread_t thread;
	uint64_t number;
	uint64_t until_ns;
	bool writes;
};

/* A writer owns every slot whose number leaves its own when divided by the writers'. */
static void *work(void *argument)
{
	const struct worker *worker = argument;
	unsigned char *buffer = io_buffer();
	unsigned char *scratch = aligned(64, state->slot_bytes);
	uint64_t random = mix64(state->seed ^ (worker->number << 1 | worker->writes));
	uint64_t owned = state->slots / options.writers;

	for (uint64_t n = 0; now_ns() < worker->until_ns; n++) {
		uint64_t lot = draw(&random);

		if (worker->writes) {
			if (n == options.operations)
				break;
			store(lot % owned * options.writers + worker->number, 1, options.mix, buffer);
		} else {
			uint64_t first = lot % state->slots;
			uint64_t count = 1 + (lot >> 32) % options.batch;

			if (!writers_left)
				break;
			if (count > state->slots - first)
				count = state->slots - first;
			check(first, count, buffer, scratch, false);
		}
	}
	if (worker->writes)
		writers_left--;
	free(buffer - options.misalign);
	free(scratch);
	return NULL;
}

static void churn(void)
{
	uint64_t threads = options.writers + options.readers;
	struct worker *workers = calloc(threads, sizeof(*workers));
	uint64_t until_ns = options.seconds ? now_ns() + options.seconds * 1000000000u : UINT64_MAX;
	int error;

	if (!workers)
		die(STATUS_IO, errno, "%" PRIu64 " threads", threads);
	writers_left = options.writers;
	for (uint64_t i = 0; i < threads; i++) {
		workers[i].writes = i < options.writers;
		workers[i].number = workers[i].writes ? i : i - options.writers;
		workers[i].until_ns = until_ns;
		error = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
		if (error)
			die(STATUS_IO, error, "a thread");
	}
	for (uint64_t i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	free(workers);
}

static int report(const char *command)
{
	struct census census = { 0 };

	for (uint64_t slot = 0; slot < state->slots; slot++)
		census_add(&census, recipe_at(slot, state->slot[slot].committed), state->slot_bytes);
	printf("{\"program\": \"zblk\", \"command\": \"%s\", \"slots\": %" PRIu64 ", \"slot_bytes\": %" PRIu64,
	       command, state->slots, state->slot_bytes);
	printf(", \"writes\": %" PRIu64 ", \"reads\": %" PRIu64 ", \"discards\": %" PRIu64, writes, reads, discards);
	printf(", \"errors\": %" PRIu64 ", \"bytes_written\": %" PRIu64 ", \"bytes_verified\": %" PRIu64, errors,
	       bytes_written, bytes_verified);
	printf(", \"stored\": %" PRIu64 ", \"same\": %" PRIu64, census.stored, census.same);
	printf(", \"huge_certain\": %" PRIu64 ", \"huge_possible\": %" PRIu64, census.huge_certain,
	       census.huge_possible);
	printf(", \"compressed_least\": %" PRIu64 ", \"compressed_most\": %" PRIu64, census.compressed_least,
	       census.compressed_most);
	return report_end(&mismatches);
}

static const struct option long_options[] = {
	{ "device", required_argument, NULL, 'd' },   { "state", required_argument, NULL, 'f' },
	{ "slots", required_argument, NULL, 'n' },    { "seed", required_argument, NULL, 's' },
	{ "slot-bytes", required_argument, NULL, 'b' }, { "from", required_argument, NULL, 'A' },
	{ "to", required_argument, NULL, 'B' },	      { "step", required_argument, NULL, 'N' },
	{ "batch", required_argument, NULL, 'a' },    { "io-bytes", required_argument, NULL, 'i' },
	{ "misalign", required_argument, NULL, 'm' }, { "mix", required_argument, NULL, 'x' },
	{ "writers", required_argument, NULL, 'w' },  { "readers", required_argument, NULL, 'r' },
	{ "operations", required_argument, NULL, 'o' }, { "seconds", required_argument, NULL, 't' },
	{ "cpu", required_argument, NULL, 'c' },      { "tolerate", no_argument, NULL, 'T' },
	{ "zero-out", no_argument, NULL, 'Z' },	      { "edge", required_argument, NULL, 'e' },
	{ "failing", no_argument, NULL, 'F' },
	{ 0 },
};

static void parse(int argc, char **argv)
{
	int option, index;

	while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
		const char *name = option == '?' ? "" : long_options[index].name;

		switch (option) {
		case 'd': options.device = optarg; break;
		case 'f': options.file = optarg; break;
		case 'n': options.slots = parse_number(name, optarg); break;
		case 's': options.seed = parse_number(name, optarg); break;
		case 'b': options.slot_bytes = parse_number(name, optarg); break;
		case 'A': options.from = parse_number(name, optarg); break;
		case 'B': options.to = parse_number(name, optarg); break;
		case 'N': options.step = parse_number(name, optarg); break;
		case 'a': options.batch = parse_number(name, optarg); break;
		case 'i': options.io_bytes = parse_number(name, optarg); break;
		case 'm': options.misalign = parse_number(name, optarg); break;
		case 'w': options.writers = parse_number(name, optarg); break;
		case 'r': options.readers = parse_number(name, optarg); break;
		case 'o': options.operations = parse_number(name, optarg); break;
		case 't': options.seconds = parse_number(name, optarg); break;
		case 'e': options.edge = parse_number(name, optarg); break;
		case 'c': options.cpu = (int)parse_number(name, optarg); break;
		case 'T': options.tolerate = true; break;
		case 'Z': options.zero_out = true; break;
		case 'F': options.failing = true; break;
		case 'x':
			options.mix = mix_named(optarg);
			if (options.mix == MIXES)
				die(STATUS_USAGE, 0, "no such mix: %s", optarg);
			break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!options.device || !options.file)
		die(STATUS_USAGE, 0, "--device and --state are needed");
	if (!options.step || !options.batch || options.batch > BATCH_MAX)
		die(STATUS_USAGE, 0, "--step is 1 or more, --batch from 1 to %u", BATCH_MAX);
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	bool create = !strcmp(command, "create");

	if (argc < 2)
		die(STATUS_USAGE, 0, "usage: zblk create|write|discard|verify|churn --device=D --state=F ...");
	options.slot_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	parse(argc - 1, argv + 1);
	if (create && !options.slots)
		die(STATUS_USAGE, 0, "create needs --slots");
	if (options.cpu >= 0)
		pin_to(options.cpu);
	state_map(create);
	device_open();

	if (create) {
		/* Nothing to do: every slot is at version 0. */
	} else if (!strcmp(command, "write")) {
		if (options.mix == MIXES)
			die(STATUS_USAGE, 0, "write needs --mix");
		each_selected(ACT_STORE, options.mix);
	} else if (!strcmp(command, "discard")) {
		each_selected(ACT_STORE, MIX_DISCARD);
	} else if (!strcmp(command, "verify")) {
		each_selected(ACT_VERIFY, MIXES);
	} else if (!strcmp(command, "churn")) {
		if (options.mix == MIXES || !options.writers || options.writers > state->slots)
			die(STATUS_USAGE, 0, "churn needs --mix, and from 1 to as many --writers as slots");
		if (!options.operations && !options.seconds)
			die(STATUS_USAGE, 0, "churn needs --operations or --seconds");
		if (!options.operations)
			options.operations = UINT64_MAX;
		churn();
	} else {
		die(STATUS_USAGE, 0, "no such command: %s", command);
	}
	return report(command);
}
