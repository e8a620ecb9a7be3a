"""The README's example is run as it stands, but for its length."""

import re
from pathlib import Path

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_train_an_agent(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "outer_steps=1500" in code and len([line for line in code.splitlines() if line]) <= 10
    monkeypatch.chdir(tmp_path)
    exec(code.replace("outer_steps=1500", "outer_steps=1"), {})
    assert (tmp_path / "runs/mine/checkpoints/step_00000001.pt").is_file()
