/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"

static void make_wires(struct program *program, enum program_wiring wiring, int theirs[2])
{
    int pair[2];

    if (wiring == WITH_NULL) {
        theirs[0] = theirs[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
        program->in = program->out = -1;
    } else if (wiring == WITH_SOCKET) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        theirs[0] = theirs[1] = pair[1];
        program->in = program->out = pair[0];
    } else {
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        theirs[0] = pair[0];
        program->in = pair[1];
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        theirs[1] = pair[1];
        program->out = pair[0];
    }
}

void (*program_prepare)(void);

void program_start(struct program *program, enum program_wiring wiring, const char *const *words)
{
    const char *executable = getenv("AX_TEST_ECHO");
    char *argv[PROGRAM_ARGUMENTS + 2] = {(char[]){"acrossd"}};
    int theirs[2], errors[2];

    assert_non_null(executable);
    for (int i = 0; words[i] != NULL; i++) {
        assert_true(i < PROGRAM_ARGUMENTS);
        argv[i + 1] = (char *)(uintptr_t)words[i];
    }
    make_wires(program, wiring, theirs);
    assert_int_equal(pipe2(errors, O_CLOEXEC), 0);
    program->log_size = 0;
    program->log[0] = '\0';
    program->err = errors[0];
    program->pid = fork();
    assert_true(program->pid >= 0);
    if (program->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failing test leaves no process behind */
        if (program_prepare != NULL)
            program_prepare();
        if (dup2(theirs[0], STDIN_FILENO) >= 0 && dup2(theirs[1], STDOUT_FILENO) >= 0 &&
            dup2(errors[1], STDERR_FILENO) >= 0)
            execv(executable, argv);
        _exit(127);
    }
    program_prepare = NULL;
    close(theirs[0]);
    if (theirs[1] != theirs[0])
        close(theirs[1]);
    close(errors[1]);
}

/* Returns whether there was something to read. */
static bool read_log(struct program *program)
{
    size_t capacity = sizeof program->log - 1 - program->log_size;
    ssize_t size = read(program->err, program->log + program->log_size, capacity);

    if (size <= 0)
        return false;
    program->log_size += (size_t)size;
    program->log[program->log_size] = '\0';
    return true;
}

void program_await(struct program *program, const char *text)
{
    while (strstr(program->log, text) == NULL)
        if (!read_log(program))
            fail_msg("\"%s\" did not come; what came is \"%s\"", text, program->log);
}

void program_signal(const struct program *program, int number)
{
    assert_int_equal(kill(program->pid, number), 0);
}

void program_close_input(struct program *program)
{
    if (program->in == program->out)
        shutdown(program->in, SHUT_WR);
    else
        close(program->in);
    if (program->in != program->out)
        program->in = -1;
}

int program_wait(struct program *program)
{
    int status;

    while (read_log(program))
        continue;
    assert_int_equal(waitpid(program->pid, &status, 0), program->pid);
    close(program->err);
    if (program->in >= 0)
        close(program->in);
    if (program->out >= 0 && program->out != program->in)
        close(program->out);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
