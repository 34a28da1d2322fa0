/* The first process of each Pod: it holds the Pod's namespaces until it is told to end, and waits for orphans. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) { _exit(0); }

static void wait_for_orphans(int signal) {
	while (waitpid(-1, 0, WNOHANG) > 0) {
	}
}

int main(void) {
	signal(SIGTERM, end);
	signal(SIGINT, end);
	signal(SIGCHLD, wait_for_orphans);
	for (;;) {
		pause();
	}
}
