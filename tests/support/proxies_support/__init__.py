"""What tests/proxies runs: proxies, servers behind them, and bursts of calls."""
