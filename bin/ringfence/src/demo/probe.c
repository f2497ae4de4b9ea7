/* The attacker's tool of `ringfence demo`: one system call each, and what the system answered.
 *
 * It prints `worked` (status 0) or `refused: <reason>` (status 1). Anything else, such as wrong usage (70) or a
 * crash, is no answer, and never counts as a refusal. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int refused(const char *call) {
    printf("refused: %s: %s\n", call, strerror(errno));
    return 1;
}

static int worked(void) {
    puts("worked");
    return 0;
}

static int broken(const char *call) {
    fprintf(stderr, "probe: %s: %s\n", call, strerror(errno));
    return 70;
}

static int open_to_write(const char *path) {
    /* Opened and closed: nothing is changed where it works. */
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0) return refused("open");
    close(fd);
    return worked();
}

static int hard_link(const char *from, const char *to) {
    return link(from, to) ? refused("link") : worked();
}

static int set_setuid(const char *path) {
    return chmod(path, S_ISUID | 0755) ? refused("chmod") : worked();
}

static int connect_tcp(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return refused("socket");
    return connect(fd, (struct sockaddr *)&address, sizeof address) ? refused("connect") : worked();
}

static int connect_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return broken("connect");
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return refused("socket");
    return connect(fd, (struct sockaddr *)&address, sizeof address) ? refused("connect") : worked();
}

static int end_process(const char *pid) {
    return kill(atoi(pid), SIGKILL) ? refused("kill") : worked();
}

static int trace(const char *pid) {
    if (ptrace(PTRACE_SEIZE, atoi(pid), 0, 0)) return refused("ptrace");
    return worked();
}

/* The Ringfence process that started this one: inside, the session's first process; outside, the demo itself. */
static pid_t starter(void) {
    pid_t pid = getppid();
    while (pid > 0) {
        char path[64], comm[17] = "";
        int parent = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        FILE *file = fopen(path, "r");
        if (!file) return -1;
        int fields = fscanf(file, "%*d (%16[^)]) %*c %d", comm, &parent);
        fclose(file);
        if (fields != 2) return -1;
        if (!strncmp(comm, "ringfence", 9)) return pid;
        pid = parent;
    }
    return -1;
}

/* No other error is a refusal: what is not there has not been refused. */
static int refused_by_right(const char *call) {
    return errno == EPERM || errno == EACCES ? refused(call) : broken(call);
}

static int hold_starter(const char *how) {
    pid_t pid = starter();
    if (pid < 0) return broken("no Ringfence process above");
    if (!strcmp(how, "trace")) return ptrace(PTRACE_SEIZE, pid, 0, 0) ? refused_by_right("ptrace") : worked();
    if (!strcmp(how, "memory")) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
        /* Opened and closed: nothing is written where it works. */
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0) return refused_by_right("open");
        close(fd);
        return worked();
    }
    int handle = (int)syscall(SYS_pidfd_open, pid, 0);
    if (handle < 0) return refused_by_right("pidfd_open");
    int fd = (int)syscall(SYS_pidfd_getfd, handle, 2, 0);
    return fd < 0 ? refused_by_right("pidfd_getfd") : worked();
}

static int new_user_namespace(void) {
    return unshare(CLONE_NEWUSER) ? refused("unshare") : worked();
}

static int mount_on(const char *directory) {
    /* A user needs a user namespace first, root does not. A mount that works ends with the namespace. */
    if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS)) {
        if (mount("probe", directory, "tmpfs", 0, 0)) return refused("mount");
        umount(directory);
        return worked();
    }
    if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0)) return refused("mount");
    return mount("probe", directory, "tmpfs", 0, 0) ? refused("mount") : worked();
}

static int type_into_terminal(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) || unlockpt(master)) return broken("posix_openpt");
    const char *name = ptsname(master);
    if (!name) return broken("ptsname");
    pid_t child = fork();
    if (child < 0) return broken("fork");
    if (child == 0) {
        setsid();
        int terminal = open(name, O_RDWR);
        if (terminal < 0 || ioctl(terminal, TIOCSCTTY, 0)) _exit(70);
        _exit(ioctl(terminal, TIOCSTI, "x") ? errno : 0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 70) return broken("terminal");
    errno = WEXITSTATUS(status);
    return errno ? refused("ioctl") : worked();
}

static int leave_daemon(const char *lock, const char *pid_file) {
    int ready[2];
    if (pipe(ready)) return broken("pipe");
    pid_t child = fork();
    if (child < 0) return broken("fork");
    if (child == 0) {
        /* Holds the lock for as long as it lives; ends by itself if nobody ends it. */
        setsid();
        int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        FILE *file = fopen(pid_file, "w");
        if (fd < 0 || !file || flock(fd, LOCK_EX)) _exit(70);
        fprintf(file, "%d\n", (int)getpid());
        fclose(file);
        if (write(ready[1], "r", 1) != 1) _exit(70);
        close(ready[0]);
        close(ready[1]);
        close(0);
        close(1);
        close(2);
        sleep(120);
        _exit(0);
    }
    close(ready[1]);
    char byte;
    if (read(ready[0], &byte, 1) != 1) return refused("flock");
    return worked();
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    const char *first = argc > 2 ? argv[2] : "";
    const char *second = argc > 3 ? argv[3] : "";
    setvbuf(stdout, 0, _IOLBF, 0);
    if (!strcmp(what, "open")) return open_to_write(first);
    if (!strcmp(what, "link")) return hard_link(first, second);
    if (!strcmp(what, "setuid")) return set_setuid(first);
    if (!strcmp(what, "tcp")) return connect_tcp(first);
    if (!strcmp(what, "unix")) return connect_unix(first);
    if (!strcmp(what, "kill")) return end_process(first);
    if (!strcmp(what, "trace")) return trace(first);
    if (!strcmp(what, "starter")) return hold_starter(first);
    if (!strcmp(what, "userns")) return new_user_namespace();
    if (!strcmp(what, "mount")) return mount_on(first);
    if (!strcmp(what, "sti")) return type_into_terminal();
    if (!strcmp(what, "daemon")) return leave_daemon(first, second);
    fprintf(stderr, "probe: what?\n");
    return 70;
}
