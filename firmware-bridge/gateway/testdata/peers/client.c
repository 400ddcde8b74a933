/* A Modbus TCP client on libmodbus: "client HOST PORT UNIT" reads with the functions 1 to 4, then
 * tries each write and a function that no reader needs, and says what came of it. */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>

static int refused(int rc) { return rc == -1 && errno == EMBXILFUN; }

int main(int argc, char **argv) {
    uint16_t words[10];
    uint8_t bits[20];
    if (argc != 4) return 2;
    modbus_t *c = modbus_new_tcp(argv[1], atoi(argv[2]));
    if (!c || modbus_set_slave(c, atoi(argv[3])) || modbus_connect(c)) return 1;
    if (modbus_read_registers(c, 100, 10, words) != 10) { printf("function 3: %s\n", modbus_strerror(errno)); return 1; }
    printf("holding %u %u\n", words[0], words[9]);
    if (modbus_read_input_registers(c, 100, 10, words) != 10) { printf("function 4: %s\n", modbus_strerror(errno)); return 1; }
    printf("input %u %u\n", words[0], words[9]);
    if (modbus_read_bits(c, 16, 20, bits) != 20) { printf("function 1: %s\n", modbus_strerror(errno)); return 1; }
    printf("coils");
    for (int i = 0; i < 20; i++) printf("%u", bits[i]);
    if (modbus_read_input_bits(c, 16, 20, bits) != 20) { printf("function 2: %s\n", modbus_strerror(errno)); return 1; }
    printf("\ninputs");
    for (int i = 0; i < 20; i++) printf("%u", bits[i]);
    printf("\nrefused %d%d%d%d%d%d\n", refused(modbus_write_bit(c, 0, 1)), refused(modbus_write_register(c, 0, 1)),
           refused(modbus_write_bits(c, 0, 20, bits)), refused(modbus_write_registers(c, 0, 10, words)),
           refused(modbus_mask_write_register(c, 0, 1, 1)), refused(modbus_write_and_read_registers(c, 0, 2, words, 0, 2, words)));
    modbus_close(c);
    modbus_free(c);
    return 0;
}
