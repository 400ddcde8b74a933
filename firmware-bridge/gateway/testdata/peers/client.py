# A Modbus TCP client on pymodbus: "client.py PORT UNIT" reads the weight block and tries to write.
import sys
import types

# pymodbus imports the modules of serial lines even where only TCP is used; Debian does not install
# them along.
for name in ("serial", "serial_asyncio"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].create_serial_connection = None

from pymodbus.client import ModbusTcpClient

client = ModbusTcpClient("127.0.0.1", port=int(sys.argv[1]))
client.connect()
unit = int(sys.argv[2])
block = client.read_holding_registers(0, 16, slave=unit)
print("block", *block.registers)
print("input", *client.read_input_registers(4, 2, slave=unit).registers)
print("write", client.write_register(0, 1, slave=unit).exception_code)
print("half", client.read_holding_registers(5, 1, slave=unit).exception_code)
client.close()
