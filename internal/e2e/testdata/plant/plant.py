# A baler (unit 1, ssc-baler-v1) and a belt scale (unit 2, generic-belt) on pymodbus over TCP:
# "plant.py MEMORY". MEMORY is what the controllers keep without power, a line for each thing that
# was counted, written before it is shown:
#
#    port PORT           is where it serves, now and after each start
#    bale NUMBER GRAMS   was pressed
#    said NUMBER         was shown in five answers; the next bale is pressed only then
#    belt COUNTS         the totaliser's register
#
# After a start with a memory two bales are pressed and 25 kg carried before anybody can ask: the
# machines went on while their server was dead.
import asyncio
import os
import sys
import threading
import time
import types

# Without Debian's serial modules, which TCP does not need, pymodbus does not load.
for name in ("serial", "serial_asyncio"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].create_serial_connection = None

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server.async_io import ModbusTcpServer

FIRST, LAST, ANSWERS = 412, 421, 5
BEGIN, STEPS, MODULUS = 999980, 150, 1000000

number, mass, counts, steps, answers, port = FIRST, 400000, BEGIN, 0, 0, 0
memory = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND)


def keep(*words):
    os.write(memory, (" ".join(map(str, words)) + "\n").encode())


class Watched(ModbusSequentialDataBlock):
    def getValues(self, address, count=1):
        global answers
        answers += 1
        return super().getValues(address, count)


def long(value):
    return [value >> 16, value & 0xFFFF]


baler = Watched(0, [0x5342, 1, 0, 4, 1] + [0] * 57)
belt = ModbusSequentialDataBlock(0, [0x4253, 1, 0, 3] + [0] * 10 + [1, 0])


def show():
    baler.setValues(12, long(mass) + [1200, 14, 4, 2])
    baler.setValues(6, long(number) + long(number - FIRST) + long(number))
    belt.setValues(12, long(counts))


def press():
    global number, mass, answers
    number, mass = number + 1, 400000 + (number + 1) * 37 % 200 * 500
    keep("bale", number, mass)
    answers = 0


def carry(kilograms):
    global counts, steps
    counts, steps = (counts + kilograms) % MODULUS, steps + 1
    keep("belt", counts)


def work():
    said = 0
    for tick in range(1 << 62):
        time.sleep(0.1)
        if answers >= ANSWERS and said != number:
            said = number
            keep("said", number)
        if answers >= ANSWERS and number < LAST and tick % 10 == 9:
            press()
        if steps < STEPS:
            carry(1)
        show()
        baler.setValues(2, [tick // 10 & 0xFFFF])
        belt.setValues(2, [tick // 10 & 0xFFFF])


for line in os.fdopen(os.dup(memory)):
    word, *values = line.split()
    if word == "bale":
        number, mass = map(int, values)
    if word == "port":
        port = int(values[0])
    if word == "belt":
        counts, steps = int(values[0]), steps + 1
if steps > 0:
    press(), press(), carry(25)
else:
    keep("bale", number, mass), keep("belt", counts)
show()
threading.Thread(target=work, daemon=True).start()
slaves = {1: ModbusSlaveContext(hr=baler, zero_mode=True), 2: ModbusSlaveContext(hr=belt, zero_mode=True)}


# pymodbus' own start waits for ever when the port is taken; this one ends with the reason.
async def serve():
    server = ModbusTcpServer(ModbusServerContext(slaves=slaves, single=False), address=("127.0.0.1", port), allow_reuse_address=True)
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.wait({serving, server.serving}, return_when=asyncio.FIRST_COMPLETED)
    if port == 0 and server.server:
        keep("port", server.server.sockets[0].getsockname()[1])
    await serving


asyncio.run(serve())
