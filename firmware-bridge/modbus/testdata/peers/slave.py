# A Modbus TCP server on pymodbus: "slave.py PORT". Holding register a of unit 1 holds a*31 ^ 0x100.
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
from pymodbus.server import StartTcpServer

block = ModbusSequentialDataBlock(0, [a * 31 & 0xFFFF ^ 0x100 for a in range(500)])
unit = ModbusSlaveContext(hr=block, zero_mode=True)
StartTcpServer(context=ModbusServerContext(slaves={1: unit}, single=False), address=("127.0.0.1", int(sys.argv[1])))
