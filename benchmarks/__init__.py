"""The measurements behind every quoted figure: `python -m benchmarks NAME` writes results/NAME.json and NAME.md."""
