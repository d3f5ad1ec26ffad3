// A clock that runs backwards, to be loaded before the C library (LD_PRELOAD): while
// the file is there that FAKE_CLOCK_BACK names, CLOCK_MONOTONIC now and then loses
// twice what went by between two readings, if that is a millisecond or more: whatever
// was timed between them ended before it began. In the long run it goes forward, so
// that who waits for it waits not for ever.
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { least = 1000000, period = 150000000 };

static _Atomic int64_t last, back, next;

int clock_gettime(clockid_t id, struct timespec *t) {
	if (syscall(SYS_clock_gettime, id, t) != 0) return -1;
	const char *trigger = getenv("FAKE_CLOCK_BACK");
	if (id != CLOCK_MONOTONIC || trigger == NULL) return 0;
	int64_t now = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
	int64_t went = now - last;
	last = now;
	if (went < now && went >= least && now >= next && access(trigger, F_OK) == 0) {
		next = now + (4 * went > period ? 4 * went : period);
		back += 2 * went;
	}
	now -= back;
	t->tv_sec = now / 1000000000;
	t->tv_nsec = now % 1000000000;
	return 0;
}
