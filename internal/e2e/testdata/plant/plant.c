/* The plant of plant.py on libmodbus: "plant MEMORY" is its baler and its belt scale on TCP,
 * "plant MEMORY TTY" the belt scale alone, for libmodbus is one unit of a serial line. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <modbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FIRST = 412, LAST = 421, ANSWERS = 5, BEGIN = 999980, STEPS = 150, MODULUS = 1000000 };

static int memory, number = FIRST, mass = 400000, counts = BEGIN, steps, answers, said, port;
static modbus_mapping_t *baler, *belt;

static void keep(const char *word, int a, int b) {
    char line[64];
    int n = b < 0 ? snprintf(line, sizeof line, "%s %d\n", word, a) : snprintf(line, sizeof line, "%s %d %d\n", word, a, b);
    if (write(memory, line, n) != n) exit(1);
}

static void put(uint16_t *at, int value) {
    at[0] = value >> 16;
    at[1] = value & 0xFFFF;
}

static void show(void) {
    uint16_t *r = baler->tab_registers;
    put(r + 12, mass);
    r[14] = 1200, r[15] = 14, r[16] = 4, r[17] = 2;
    put(r + 6, number);
    put(r + 8, number - FIRST);
    put(r + 10, number);
    put(belt->tab_registers + 12, counts);
}

static void press(void) {
    number++;
    mass = 400000 + number * 37 % 200 * 500;
    keep("bale", number, mass);
    answers = 0;
}

static void carry(int kilograms) {
    counts = (counts + kilograms) % MODULUS;
    steps++;
    keep("belt", counts, -1);
}

/* work does what is due since the last call: ten ticks a second. */
static void work(int presses) {
    static struct timespec last;
    static int tick;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 < 100) return;
    last = now;
    tick++;
    if (presses && answers >= ANSWERS && said != number) keep("said", said = number, -1);
    if (presses && answers >= ANSWERS && number < LAST && tick % 10 == 9) press();
    if (steps < STEPS) carry(1);
    show();
    baler->tab_registers[2] = belt->tab_registers[2] = tick / 10;
}

static void recall(const char *path, int presses) {
    char line[64];
    FILE *f = fopen(path, "r");
    if ((memory = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600)) < 0) exit(1);
    while (f && fgets(line, sizeof line, f)) {
        sscanf(line, "bale %d %d", &number, &mass);
        sscanf(line, "port %d", &port);
        if (sscanf(line, "belt %d", &counts) == 1) steps++;
    }
    if (steps > 0) {
        if (presses) press(), press();
        carry(25);
        return;
    }
    if (presses) keep("bale", number, mass);
    keep("belt", counts, -1);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    int tcp = argc == 2, listening = -1, open = 0;
    baler = modbus_mapping_new(0, 0, 62, 0);
    belt = modbus_mapping_new(0, 0, 16, 0);
    if (!baler || !belt) return 1;
    uint16_t *b = baler->tab_registers, *s = belt->tab_registers;
    b[0] = 0x5342, b[1] = 1, b[3] = 4, b[4] = 1;
    s[0] = 0x4253, s[1] = 1, s[3] = 3, s[14] = 1;
    recall(argv[1], tcp);
    show();
    modbus_t *c = tcp ? modbus_new_tcp("127.0.0.1", port) : modbus_new_rtu(argv[2], 19200, 'N', 8, 1);
    if (!c) return 1;
    if (tcp) {
        struct sockaddr_in at;
        socklen_t size = sizeof at;
        if ((listening = modbus_tcp_listen(c, 4)) < 0 || getsockname(listening, (struct sockaddr *)&at, &size) < 0) return 1;
        if (port == 0) keep("port", ntohs(at.sin_port), -1);
    } else {
        modbus_set_slave(c, 2);
        if (modbus_connect(c) < 0) return 1;
        open = 1;
    }
    for (;;) {
        uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
        struct pollfd p = {open ? modbus_get_socket(c) : listening, POLLIN, 0};
        if (poll(&p, 1, 20) > 0) {
            if (!open) {
                open = modbus_tcp_accept(c, &listening) >= 0;
                continue;
            }
            int n = modbus_receive(c, query), unit = tcp ? query[6] : 2;
            if (n > 0) {
                modbus_reply(c, query, n, unit == 1 ? baler : belt);
                answers += unit == 1;
            } else if (n < 0 && tcp) {
                modbus_close(c);
                open = 0;
            }
        }
        work(tcp);
    }
}
