# A Modbus TCP server on pymodbus. Holding register a of unit 1 holds a*31 ^ 0x100. Prints the port
# that the system gave, and "ready".
import asyncio
import sys
import types

# pymodbus imports the modules of serial lines even where only TCP is served; Debian does not
# install them along.
for name in ("serial", "serial_asyncio"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].create_serial_connection = None

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server.async_io import ModbusTcpServer

block = ModbusSequentialDataBlock(0, [a * 31 & 0xFFFF ^ 0x100 for a in range(500)])
unit = ModbusSlaveContext(hr=block, zero_mode=True)


async def main():
    server = ModbusTcpServer(ModbusServerContext(slaves={1: unit}, single=False), address=("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.wait({serving, server.serving}, return_when=asyncio.FIRST_COMPLETED)
    if server.server:
        print(server.server.sockets[0].getsockname()[1])
        print("ready", flush=True)
    await serving


asyncio.run(main())
