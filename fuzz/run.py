"""Run targets under a coverage-guided fuzzer (atheris), one process each, and print what came out.

    python -m fuzz.run                                  # all targets, 100,000 executions each
    python -m fuzz.run smtp-replies dns-answers --executions 2000000
    python -m fuzz.run --only-one templates FILE        # repeat a finding

What a target learns goes to ``.cache/fuzz/TARGET``, so that the next run goes on from there; ``fuzz/corpus/TARGET`` is
where it begins. A finding is written to ``.cache/fuzz/TARGET.crash-…`` and ends the run of its target.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
LEARNED = ROOT / ".cache" / "fuzz"
SECONDS = 3600
MAX_OCTETS = 4096
SLOW_SECONDS = 10
MEMORY_MIB = 2048


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Become the fuzzer of one target; does not return."""
    import atheris

    with atheris.instrument_imports(include=["relayq"]):
        from fuzz.targets import TARGETS
    target = TARGETS[name]
    atheris.Setup([f"relayq-{name}", *arguments], target)
    atheris.Fuzz()


def run(name: str, executions: int, seconds: int) -> tuple[int, bool]:
    """Fuzz one target in a process of its own.

    Returns:
        How many executions there were, and whether nothing was found.
    """
    learned = LEARNED / name
    learned.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "fuzz.run", "--become", name,
        str(learned), str(CORPUS / name), f"-runs={executions}", f"-max_total_time={seconds}", f"-max_len={MAX_OCTETS}",
        f"-timeout={SLOW_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={learned}.",
        "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    counts = re.findall(r"number_of_executed_units:\s*(\d+)", done.stderr)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
    return int(counts[-1]) if counts else 0, done.returncode == 0


def main() -> int:
    """Run, print a table, tell by the exit code whether anything was found."""
    if sys.argv[1:2] == ["--become"]:
        fuzz_one(sys.argv[2], sys.argv[3:])
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--executions", type=int, default=100_000, help="of each target (100000)")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="at most, for each target (3600)")
    parser.add_argument("--only-one", nargs=2, metavar=("TARGET", "FILE"), help="give the octets of a file to a target")
    given = parser.parse_args()
    if given.only_one:
        name, path = given.only_one
        TARGETS[name](Path(path).read_bytes())
        return 0
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    is_clean = True
    total = 0
    print("| Target | Executions | Seconds | Found |\n|---|---:|---:|---|")
    for name in given.targets or TARGETS:
        started = time.monotonic()
        executions, is_good = run(name, given.executions, given.seconds)
        is_clean, total = is_clean and is_good, total + executions
        print(
            f"| {name} | {executions:,} | {time.monotonic() - started:.0f} | {'-' if is_good else 'yes'} |", flush=True
        )
    print(f"| together | {total:,} | | |")
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
