"""Ask whether a pinned package has a known vulnerability: fails where one has.

Where no service of advisories can be reached, or it does not know a package, that is said and is no failure: without a
network there is nothing to ask, but silence would pass for a clean bill.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
SERVICES = ("pypi", "osv")  # asked in this order, until one answers for any package
SECONDS = 15  # for a service to answer
NAMED = 5  # packages that are named among those nobody knows

Packages = list[dict[str, Any]]


def main() -> int:
    """The exit status: 1 where a vulnerability is known."""
    for service in SERVICES:
        answered = asked(service)
        audited = [package for package in answered if "skip_reason" not in package]
        unknown = [package for package in answered if "skip_reason" in package]
        if audited:
            return told(audited, unknown, service)
        if unknown:
            print(f"{service} knows none of the {len(unknown)} packages")
    print("NOT AUDITED: no service could be asked about any package from here")
    return 0


def told(audited: Packages, unknown: Packages, service: str) -> int:
    """Say what was found; the exit status."""
    found = [(package, advisory) for package in audited for advisory in package["vulns"]]
    for package, advisory in found:
        fixed = f"; fixed in {', '.join(advisory['fix_versions'])}" if advisory["fix_versions"] else ""
        print(f"{package['name']} {package['version']}: {advisory['id']}{fixed}")
    if unknown:
        names = [package["name"] for package in unknown]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        print(f"not audited, for {service} does not know them: {', '.join(names[:NAMED])}{more}")
    print(f"{len(audited)} packages audited by {service}: {len(found) or 'no'} known vulnerabilities")
    return 1 if found else 0


def asked(service: str) -> Packages:
    """What a service says of each pinned package; nothing where it does not answer."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--timeout", str(SECONDS)]
    command += ["--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip"]  # as they are pinned, all of them
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: Packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"{service} does not answer: {(done.stderr.strip().splitlines() or ['without a word'])[-1][:200]}")
        return []
    return found


if __name__ == "__main__":
    sys.exit(main())
