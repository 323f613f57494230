/* SPDX-License-Identifier: MIT */
/*
 * The pool with a fake zygote: this program, executed again in that role, plays all keepers and workers itself, so that
 * there can be thousands without any processes. A worker's connection ends when its client closes it.
 */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/admission/client.h"
#include "daemon/process/control.h"
#include "daemon/process/pool.h"
#include "daemon/process/process.h"

/* ---- the zygote ---- */

#define FIRST_PID 100000000 /* beyond all existing ones */

struct actor {
    int control_fd;
    int client_fd; /* -1: none yet */
    uint64_t id;
};

static int poll_fd;

static void watch(struct actor *actor, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = actor};

    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        _exit(3);
}

static void say(int fd, enum ax_control_type type, uint32_t value, uint64_t connection)
{
    const struct ax_control message = {.type = type, .value = value, .connection = connection};

    if (ax_control_send(fd, &message, NULL) < 0)
        _exit(4);
}

static void play_fork(struct ax_control_fds *fds)
{
    static uint32_t pid = FIRST_PID;
    struct actor *actor = calloc(1, sizeof *actor);

    if (actor == NULL || fds->fd[1] < 0)
        _exit(5);
    *actor = (struct actor){.control_fd = fds->fd[0], .client_fd = -1};
    fds->fd[0] = -1;
    close(fds->fd[1]);
    fds->fd[1] = -1;
    fcntl(actor->control_fd, F_SETFL, O_NONBLOCK);
    say(actor->control_fd, AX_CONTROL_STARTED, pid, pid + 1);
    pid += 2;
    say(actor->control_fd, AX_CONTROL_READY, 0, 0);
    watch(actor, actor->control_fd);
}

static void end_actor(struct actor *actor)
{
    close(actor->control_fd);
    if (actor->client_fd >= 0) { /* the supervisor has a duplicate, so that closing it does not remove it from epoll */
        epoll_ctl(poll_fd, EPOLL_CTL_DEL, actor->client_fd, NULL);
        close(actor->client_fd);
    }
    free(actor);
}

static void play_worker(struct actor *actor)
{
    struct ax_control message;
    struct ax_control_fds fds;
    char byte;
    int result = ax_control_receive(actor->control_fd, &message, &fds);

    if (result > 0 && message.type == AX_CONTROL_CONNECTION) {
        actor->client_fd = fds.fd[0];
        actor->id = message.connection;
        watch(actor, actor->client_fd);
        return;
    }
    if (result == -EAGAIN && (actor->client_fd < 0 || recv(actor->client_fd, &byte, 1, MSG_DONTWAIT) != 0))
        return;
    if (result == -EAGAIN) { /* the client is gone */
        say(actor->control_fd, AX_CONTROL_ENDED, 0, actor->id);
        say(actor->control_fd, AX_CONTROL_DIED, 0, 0);
    }
    end_actor(actor);
}

_Noreturn static void play_zygote(void)
{
    struct epoll_event event;
    struct ax_control message;
    struct ax_control_fds fds;

    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(NULL, AX_PROCESS_CONTROL_FD);
    say(AX_PROCESS_CONTROL_FD, AX_CONTROL_READY, 0, 0);
    for (;;) {
        if (epoll_wait(poll_fd, &event, 1, -1) < 1)
            continue;
        if (event.data.ptr != NULL) {
            play_worker(event.data.ptr);
            continue;
        }
        if (ax_control_receive(AX_PROCESS_CONTROL_FD, &message, &fds) <= 0)
            _exit(0);
        if (message.type == AX_CONTROL_FORK)
            play_fork(&fds);
        ax_control_close(&fds);
    }
}

/* ---- the supervisor ---- */

static uv_loop_t loop;
static struct ax_options options;
static struct ax_pool pool;
static struct ax_clients clients;
static bool is_started, is_empty;
static size_t ended;

static void dispatch(void)
{
    struct ax_client *client;
    int code;

    while ((client = clients.first[AX_CLIENT_WAITING]) != NULL) {
        struct ax_worker_handle *worker = ax_pool_give(&pool, client, 0, &code);

        if (worker == NULL)
            break;
        client->worker = worker;
        ax_client_move(&clients, client, AX_CLIENT_SERVED, NULL);
    }
    ax_pool_demand(&pool, clients.count[AX_CLIENT_WAITING]);
}

static void on_started(struct ax_pool *all)
{
    (void)all;
    is_started = true;
}

static void on_failed(struct ax_pool *all)
{
    (void)all;
    fail_msg("the zygote failed");
}

static void on_room(struct ax_pool *all)
{
    if (all->state == AX_POOL_RUNNING)
        dispatch();
}

static void end_client(struct ax_client *client)
{
    ax_worker_handle_release(client->worker, client);
    ax_client_move(&clients, client, AX_CLIENT_ENDED, NULL);
    ended++;
}

static void on_ended(struct ax_pool *all, struct ax_worker_handle *worker, uint64_t id, const char *reason)
{
    struct ax_client *client = ax_clients_find(&clients, id);
    (void)all;

    assert_null(reason);
    assert_ptr_equal(client->worker, worker);
    end_client(client);
}

static size_t on_lost(struct ax_pool *all, struct ax_worker_handle *worker, const char *reason)
{
    size_t count = 0;
    (void)all;
    (void)reason;

    for (; worker->last_client != NULL; count++)
        end_client(worker->last_client);
    return count;
}

static void on_pong(struct ax_pool *all)
{
    (void)all;
}

static void on_reloaded(struct ax_pool *all, bool done)
{
    (void)all;
    (void)done;
}

static void on_empty(struct ax_pool *all)
{
    is_empty = true;
    ax_pool_close(all);
}

static int set_up(void **state)
{
    static const struct ax_pool_events events = {
        .started = on_started,
        .failed = on_failed,
        .room = on_room,
        .ended = on_ended,
        .lost = on_lost,
        .pong = on_pong,
        .reloaded = on_reloaded,
        .empty = on_empty,
    };
    (void)state;

    is_started = is_empty = false;
    ended = 0;
    ax_options_init(&options);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(ax_clients_init(&clients), 0);
    assert_int_equal(ax_pool_init(&pool, &loop, &options, 10000, &events, NULL), 0);
    ax_pool_start(&pool);
    while (!is_started)
        uv_run(&loop, UV_RUN_ONCE);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ax_pool_stop(&pool, 0, "the test is over");
    ax_pool_kill(&pool);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(is_empty);
    ax_clients_fini(&clients);
    ax_pool_free_memory(&pool);
    ax_options_fini(&options);
    return uv_loop_close(&loop);
}

/* The client's end of a connection that is being served. */
static int connect_one(void)
{
    struct ax_client *client = ax_client_new(&clients, "a test", 0);
    size_t served = clients.count[AX_CLIENT_SERVED];
    int pair[2];

    assert_non_null(client);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    client->fd = pair[1];
    ax_client_move(&clients, client, AX_CLIENT_WAITING, NULL);
    dispatch();
    while (clients.count[AX_CLIENT_SERVED] == served)
        uv_run(&loop, UV_RUN_ONCE);
    return pair[0];
}

static void await_ended(size_t wanted)
{
    while (ended < wanted)
        uv_run(&loop, UV_RUN_ONCE);
}

/* Until every requested worker has started, so that no connection has to wait for one. */
static void settle(void)
{
    while (pool.lists[AX_POOL_ORDERED].count > 0 || pool.lists[AX_POOL_OPEN].count == 0)
        uv_run(&loop, UV_RUN_ONCE);
}

/* List items visited for a hundred connections that come and go one by one. */
static uint64_t steps_of_a_hundred(void)
{
    uint64_t before;
    uint64_t steps = 0;

    for (int i = 0; i < 100; i++) {
        size_t wanted = ended + 1;

        settle();
        before = pool.steps;
        close(connect_one());
        await_ended(wanted);
        settle();
        steps += pool.steps - before;
    }
    return steps;
}

static bool allow_files(rlim_t count)
{
    const struct rlimit limit = {count, count};

    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static void test_many_workers_cost_each_connection_nothing(void **state)
{
    enum { FEW = 20, MANY = 2000 };
    static int fds[MANY];
    uint64_t few, many;
    (void)state;

    for (int i = 0; i < FEW; i++)
        fds[i] = connect_one();
    few = steps_of_a_hundred();
    for (int i = FEW; i < MANY; i++)
        fds[i] = connect_one();
    assert_int_equal(clients.count[AX_CLIENT_SERVED], MANY);
    many = steps_of_a_hundred();
    assert_true(few >= 100 && few <= 200);
    assert_int_equal(many, few);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    await_ended(MANY + 200);
    assert_int_equal(pool.keepers.count, pool.count - pool.lists[AX_POOL_ORDERED].count);
}

/* As if all workers that have not started yet had been requested this long ago. */
static void have_waited(uint64_t ms)
{
    for (struct ax_worker_handle *worker = pool.lists[AX_POOL_ORDERED].first; worker != NULL; worker = worker->next)
        worker->asked_at = uv_now(&loop) - ms;
}

/* A busy machine may take long to start all requested workers. */
static void test_a_zygote_that_still_forks_is_not_stuck(void **state)
{
    pid_t zygote = pool.zygote->pid;
    (void)state;

    settle();
    assert_int_equal(kill(zygote, SIGSTOP), 0);
    ax_pool_demand(&pool, 5);
    assert_true(pool.lists[AX_POOL_ORDERED].count > 1);

    have_waited(4999);
    pool.forked_at = uv_now(&loop);
    ax_pool_demand(&pool, 5);
    assert_int_equal(uv_timer_get_due_in(&pool.silence_timer), 5000);

    pool.forked_at = uv_now(&loop) - 10000;
    ax_pool_demand(&pool, 5);
    while (pool.zygote != NULL && pool.zygote->pid == zygote)
        uv_run(&loop, UV_RUN_ONCE);
}

/* The counts agree with the lists after any sequence of events. */
static void test_a_worker_is_in_one_list_at_a_time(void **state)
{
    size_t count = 0;
    int fds[50];
    (void)state;

    for (size_t i = 0; i < COUNT_OF(fds); i++)
        fds[i] = connect_one();
    for (size_t i = 0; i < COUNT_OF(fds); i += 2)
        close(fds[i]);
    await_ended(COUNT_OF(fds) / 2);
    settle();
    for (const struct ax_worker_handle *worker = ax_pool_first(&pool); worker != NULL;
         worker = ax_pool_next(&pool, worker)) {
        if (worker->role == AX_POOL_OPEN)
            assert_true(worker->state == AX_WORKER_READY && worker->given == 0);
        count++;
    }
    assert_int_equal(count, pool.count);
    for (size_t i = 1; i < COUNT_OF(fds); i += 2)
        close(fds[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_worker_is_in_one_list_at_a_time),
        TEST(test_many_workers_cost_each_connection_nothing),
        TEST(test_a_zygote_that_still_forks_is_not_stuck),
    };

    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--role", 6) == 0)
            play_zygote();
    if (!allow_files(16384)) {
        puts("this needs 16384 open files: skipped");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
