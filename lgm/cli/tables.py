"""Results as text for people."""

from typing import Any


def for_people(result: dict[str, Any] | list[dict[str, Any]]) -> str:
    """A result as a table, or several as a line each."""
    return _table(result) if isinstance(result, dict) else _curves(result)


def _table(result: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in result.items():
        if key == "baselines":
            lines += [key, _ranking(value)]
        elif isinstance(value, dict):
            lines += [f"{indent}{key}", _table(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<24}{_short(value)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    """Six digits of a number, also in a list; but what is not quite 1 does not read as 1."""
    if isinstance(value, list):
        return " to ".join(map(_short, value))
    if isinstance(value, float):
        return "0.999999" if 0.999999 < value < 1 else f"{value:.6g}"
    return str(value)


def _ranking(baselines: list[dict[str, Any]]) -> str:
    """Detectors for people: a line each, over all poisons and over those that collide."""
    from lgm.detection.compare import DECIDING, rule_in_words
    from lgm.stats.intervals import Estimate

    rates = [f"{fpr:g}" for fpr in DECIDING]
    heads = [f"TPR at {100 * fpr:g} % FPR" for fpr in DECIDING]
    versus = [f"at {100 * fpr:g} %, points" for fpr in DECIDING]
    lines = [f"{'detector':<32}{'poisons':>7}  {'AUC':<28}{heads[0]:<26}{heads[1]:<26}{versus[0]:<24}{versus[1]:<24}"]
    for baseline in baselines:
        for group in filter(None, (baseline, baseline.get("collided"))):
            title = baseline["title"] if group is baseline else "  those that collide"
            line = f"{title:<32}{group['n']:>7}  {Estimate(group['auc'], *group['auc_interval']).in_full():<28}"
            for rate in rates:
                line += f"{Estimate(group['tpr_at_fpr'][rate], *group['tpr_at_fpr_interval'][rate]).percent():<26}"
            for rate in rates:
                difference = group["tpr_difference"].get(rate)  # the first one differs from itself by nothing
                line += f"{Estimate(*difference).points() if difference else '–':<24}"
            lines.append(line + group["verdict"])
    first = baselines[0]["title"]
    lines.append(f"Points: of TPR, against {first}. {rule_in_words().replace('*', '')}")
    return "\n".join(line.rstrip() for line in lines)


def _curves(reports: list[dict[str, Any]]) -> str:
    """A sweep for people: attack success and its interval, a line a setting."""
    if "gamma" in reports[0] and "detected" in reports[0]:
        return _frontier(reports)
    lines = [reports[0]["definition"], f"{'clean':>5} {'poisons':>7} {'n':>4}   {'unfiltered':<22} {'filtered':<22}"]
    for report in reports:
        line = f"{report['clean']:>5} {report['poisons']:>7} {report['n']:>4}  "
        for arm in ("unfiltered", "filtered"):
            share, (low, high) = report["attack_success"][arm], report["interval"][arm]
            line += f" {'none' if share is None else f'{share:.3f} ({low:.3f} to {high:.3f})':<22}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _frontier(rows: list[dict[str, Any]]) -> str:
    """A frontier for people: a line an attacker, and what it means."""
    from lgm.experiments.adaptive_rows import frontier_meaning

    lines = [f"{'gamma':>6} {'n':>4}   {'unfiltered':>10} {'filtered':>8} {'caught':>7} {'collide':>8}"]
    for row in rows:
        shares = row["unfiltered"], row["attack_success"], row["detected"], row["collided"]
        known = ["none" if share is None else f"{share:.3f}" for share in shares]
        lines.append(f"{row['gamma']:>6g} {row['n']:>4}   " + "{:>10} {:>8} {:>7} {:>8}".format(*known))
    return "\n".join([*lines, frontier_meaning(rows)])
