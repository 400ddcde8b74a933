/* A Modbus slave on libmodbus: "slave tcp 0" or "slave rtu TTY". Holding register a of unit 1 holds
 * a*31 ^ 0x100. Prints "ready" when it can be asked, and before it the port that the system gave. */
#include <modbus.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int tcp = strcmp(argv[1], "tcp") == 0, listening = -1;
    modbus_t *c = tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2])) : modbus_new_rtu(argv[2], 19200, 'N', 8, 1);
    modbus_mapping_t *map = modbus_mapping_new(0, 0, 500, 0);
    if (!c || !map) return 1;
    for (int a = 0; a < 500; a++) map->tab_registers[a] = (uint16_t)(a * 31) ^ 0x100;
    if (tcp) {
        if ((listening = modbus_tcp_listen(c, 1)) < 0) return 1;
    } else {
        modbus_set_slave(c, 1);
        if (modbus_connect(c) < 0) return 1;
    }
    if (tcp) {
        struct sockaddr_in at;
        socklen_t size = sizeof at;
        if (getsockname(listening, (struct sockaddr *)&at, &size)) return 1;
        printf("%d\n", ntohs(at.sin_port));
    }
    puts("ready");
    fflush(stdout);
    if (tcp && modbus_tcp_accept(c, &listening) < 0) return 1;
    for (;;) {
        uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
        int n = modbus_receive(c, query);
        if (n > 0) modbus_reply(c, query, n, map);
        else if (n < 0 && tcp) return 0;
    }
}
