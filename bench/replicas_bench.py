"""Two servers over one PostgreSQL of the benchmark's own (fsync on): steps a second in packs of 32, durable.

replicas_bench.py --argus build/argus --load build-bench/bench/http_load
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "e2e"))
from postgres import Postgres, find_programs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--argus", default="build/argus")
    parser.add_argument("--load", default="build-bench/bench/http_load")
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    database = Postgres(find_programs()).start()
    servers: list[subprocess.Popen] = []
    try:
        url = database.make_database()
        with tempfile.TemporaryDirectory() as folder:
            loads = []
            for name in ("a", "b"):
                command = [options.argus, "serve", "--home", f"{folder}/{name}", "--port", "0", "--database", url]
                server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                servers.append(server)
                port = re.search(r":(\d+)", server.stdout.readline().split("//")[1]).group(1)
                flags = ["--mode", "pack32", "--connections", "16", "--seconds", str(options.seconds), "--prefix", name]
                load = [options.load, "127.0.0.1", port, *flags, "--json"]
                loads.append((load, name))
            running = [subprocess.Popen(load, stdout=subprocess.PIPE, text=True) for load, _ in loads]
            answers = [json.loads(process.communicate()[0].strip().splitlines()[-1]) for process in running]
        for answer in answers:
            print(f"replica: {answer['steps_per_s']:,.0f} steps/s, p99 {answer['p99_ms']:.1f} ms")
        print(f"together: {sum(a['steps_per_s'] for a in answers):,.0f} steps/s")
    finally:
        for server in servers:
            server.terminate()
            server.wait(timeout=60)
        database.remove()


if __name__ == "__main__":
    main()
