"""The page of the demo, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import lipgd
from lipgd import report
from lipgd.experiments._demo_table import Demo, Row, accuracy

__all__ = ["page"]

_LEAD = (
    "Each network is trained twice from the same start: with a constant learning rate, and with "
    "one that is held for a tenth of the steps and then decays. The sum of the decaying rates is "
    "finite: the network stays near its start, and its Lipschitz constant stops growing."
)
_READING = (
    "The Lipschitz constant lies between two numbers: the lower value is the largest norm of the "
    "Jacobian over the training samples; the upper value, the product of the spectral norms of "
    "the weights and of the activation's constant, is certified, rounding errors included.",
    "Features are standardized on the training part, and so is the target of diabetes: its mean "
    "squared error is 1 for a network that always predicts the mean. A Lipschitz constant is in "
    "these units: change of the output (standard deviations of the target, or log-odds) per "
    "Euclidean distance of standardized features. Seconds and steps per second depend on the "
    "machine and include the recording.",
)
_COLUMNS = (
    ("data set", ""),
    ("rate", ""),
    ("train", "risk"),
    ("test", "risk"),
    ("accuracy", "test"),
    ("lower", "Lipschitz constant, start"),
    ("upper", "Lipschitz constant, start"),
    ("lower", "Lipschitz constant, end"),
    ("upper", "Lipschitz constant, end"),
    ("seconds", "training"),
    ("steps/s", "training"),
)
_LOAD = """import lipgd
net = lipgd.Network.load("networks/{name}_hold_then_decay.npz")
history = lipgd.History.load("histories/{name}_hold_then_decay.npz")"""


def page(result: Demo, words: Mapping[str, str], command: str) -> str:
    """Return the report as HTML; ``words`` says what each data set is."""
    seen = dict.fromkeys(row.data_set for row in result.rows)
    sections: dict[str, list[str | report.Html]] = {"Results": [_table(result, command), *_READING]}
    for name in seen:
        sections[name.replace("_", " ")] = [_figure(result, name, words[name], command)]
    example = _LOAD.format(name=next(iter(seen)))
    sections["Files"] = [
        "Beside this page: table.csv has the numbers of the table in full; figures has the "
        "pictures as PNG and SVG; histories has what was recorded (CSV, and NPZ for Python); "
        "networks has the trained networks and the means and scales of their data.",
        report.command(example),
    ]
    sections["How it was made"] = [_setting(command)]
    return report.page("lipgd: training on real data", sections, lead=_lead(result))


def _lead(result: Demo) -> str:
    if result.status == "finished":
        return _LEAD
    return f"{_LEAD} Not every training took all of its steps: {result.status}."


def _table(result: Demo, command: str) -> report.Html:
    groups: dict[str, int] = {}
    for _, group in _COLUMNS:
        groups[group] = groups.get(group, 0) + 1
    return report.table(
        [name for name, _ in _COLUMNS],
        [_cells(row) for row in result.rows],
        caption="Risk and Lipschitz constant at the start and at the end of each training",
        groups=list(groups.items()),
        command=command,
    )


def _cells(row: Row) -> list[object]:
    return [
        row.data_set.replace("_", " "),
        row.schedule,
        row.train_risk,
        row.test_risk,
        accuracy(row),
        row.lipschitz_lower_start,
        row.lipschitz_upper_start,
        row.lipschitz_lower_end,
        row.lipschitz_upper_end,
        f"{row.seconds:.2f}",
        round(row.steps_per_second),
    ]


def _figure(result: Demo, name: str, words: str, command: str) -> report.Html:
    rows = [row for row in result.rows if row.data_set == name]
    ends = "; ".join(
        f"{row.schedule}: test risk {report.cell(row.test_risk)}, Lipschitz constant between "
        f"{report.cell(row.lipschitz_lower_end)} and {report.cell(row.lipschitz_upper_end)}"
        for row in rows
    )
    return report.figure(
        result.folder / "figures" / f"{name}.svg",
        alt=f"Risk, Lipschitz constant and learning rate over the steps. At the end, {ends}.",
        caption=f"{words[0].upper()}{words[1:]}, loss {rows[0].loss}. Validation is the test part.",
        command=command,
    )


def _setting(command: str) -> report.Html:
    config = asdict(lipgd.show_config())
    shown = ("version", "level", "compiler", "eigen", "threads", "python", "numpy", "platform")
    return report.table(
        ["what", "value"],
        [("command", command), *((name, str(config[name])) for name in shown)],
        caption="The installation and the machine",
        command="lipgd info",
    )
