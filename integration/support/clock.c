/* The clock that an operator would find wrong: preloaded, it shifts what programs are told of the time of day by the number
   of seconds in the file that $TEST_CLOCK names. Time since boot stays right, as it does on such a machine. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *at) {
    int answer = syscall(SYS_clock_gettime, id, at);
    const char *name = getenv("TEST_CLOCK");
    if (answer == 0 && id == CLOCK_REALTIME && name) {
        char text[32] = {0};
        int file = open(name, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0)
                at->tv_sec += atol(text);
            close(file);
        }
    }
    return answer;
}
