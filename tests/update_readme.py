"""Write the real help texts into README.md: python tests/update_readme.py"""

from __future__ import annotations

import re

from test_docs import README, ROOT, help_of


def main() -> None:
    def real(match: re.Match[str]) -> str:
        return f"<!-- help: {match[1]} -->\n```text\n{help_of(match[1])}\n```"

    text = re.sub(r"<!-- help: (\w+) -->\n```text\n.*?```", real, README, flags=re.DOTALL)
    (ROOT / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
