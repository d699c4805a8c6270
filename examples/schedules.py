"""
Schedules
=========

A schedule is a map from the step to a rate, and its running sum is what bounds are about.
"""

from matplotlib import pyplot as plt

from lipgd import schedules

# %%
# Schedules are put together from parts.

steps = 400
shapes = {
    "hold, then exponential": schedules.hold_then_decay(1.0, 100, schedules.exponential(1.0, 0.02)),
    "polynomial": schedules.polynomial(1.0, 2.0, 60.0),
    "warm-up, then cosine": schedules.warmup(schedules.cosine(1.0, steps), 40),
    "joined": schedules.join(
        [schedules.constant(0.25), schedules.constant(1.0), schedules.constant(0.1)], [100, 300]
    ),
}
for name, schedule in shapes.items():
    print(f"{name:24s} rate of step 150: {schedule(150):.4f}, limit of the sum: {schedule.limit:g}")

# %%
# The sums on the right are exact: the bound of Theorem 3 is a product of norms plus budgets times
# these. Where the sum has a limit, so has the Lipschitz constant.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
for name, schedule in shapes.items():
    left.plot(schedule.rates(steps), label=name)
    right.plot(schedule.total(steps), label=name)
left.set(xlabel="step", ylabel="rate")
right.set(xlabel="step", ylabel="sum of the rates")
right.legend(fontsize="small")
