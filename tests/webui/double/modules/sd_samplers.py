"""Names of samplers; one may have its schedule behind it."""

from types import SimpleNamespace

_SCHEDULES = ("Automatic", "Karras", "Exponential")
_OPTIONS = {"DPM++ 2M": {"scheduler": "karras"}, "Euler a": {}, "Euler": {}, "DDIM": {}, "UniPC": {}}
all_samplers = samplers = [SimpleNamespace(name=name, options=options) for name, options in _OPTIONS.items()]


def visible_sampler_names():
    return [each.name for each in samplers]


def get_sampler_and_scheduler(sampler_name, scheduler_name, *, convert_automatic=True):
    for schedule in _SCHEDULES:
        if sampler_name.endswith(f" {schedule}"):
            return sampler_name[: -len(schedule) - 1], schedule
    return sampler_name, scheduler_name if scheduler_name in _SCHEDULES else "Automatic"
