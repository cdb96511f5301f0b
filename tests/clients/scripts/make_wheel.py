"""Makes a wheel with one module in the folder that is named."""

import sys
import zipfile

files = {
    "stand_in.py": "SAYS = 'from the wheel'\n",
    "stand_in-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n",
    "stand_in-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "stand_in-1.0.dist-info/RECORD": "",
}
with zipfile.ZipFile(sys.argv[1] + "/stand_in-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
