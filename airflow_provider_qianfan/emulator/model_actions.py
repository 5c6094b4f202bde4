"""The actions under ``/v2/model``: on model compression tasks, and on model versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_qianfan.emulator.body import Body, one_of, optional, required
from airflow_provider_qianfan.emulator.errors import inappropriate_json, refuse
from airflow_provider_qianfan.emulator.paging import cut_page
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TERMINAL, TaskStep

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji, table of config
_STRATEGIES = ("Quantization", "Sparsity")
_WEIGHTS = ("INT8-PTQ", "W8A16C16", "W4A16C16")


def create_task(world: World, body: Body) -> str:
    """Do CreateModelCompTask: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji."""
    config = required(body, "config", dict)
    strategy = one_of(config, "strategy", _STRATEGIES)
    if strategy == "Quantization":
        weight = required(config, "weight", str)
        if (weight.upper() if world.behaviour.any_weight_case else weight) not in _WEIGHTS:
            raise inappropriate_json(f"config.weight {weight!r} is not one of {', '.join(_WEIGHTS)}.")
    name, source_model_id, model_set_id = (
        required(body, key, str) for key in ("name", "sourceModelId", "modelSetId")
    )
    description = optional(body, "description", str) or ""
    number = world.next_number("task")
    return world.tasks.add(
        TaskSpec(
            source_model_id,
            id=f"amva-created{number}",
            name=name,
            description=description,
            model_set_id=model_set_id,
            config=config,
            timeline=tuple(step.numbered(number) for step in world.scenario.created_tasks.timeline),
        )
    )


def list_tasks(world: World, body: Body) -> Body:
    """Do DescribeModelCompTasks: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq."""
    behaviour = world.behaviour
    source_model_id = optional(body, "sourceModelId", str)
    every = source_model_id is None or behaviour.ignore_source_filter
    if source_model_id is not None:
        world.begin_again(source_model_id)
    now = world.now
    tasks = [task for task in world.tasks.listed() if every or task.spec.source_model_id == source_model_id]
    page, info = cut_page(body, tasks, behaviour)
    return {"modelCompTaskList": [task.row("list", now, behaviour) for task in page], "pageInfo": info}


# Every version of the tables calls modelCompTaskId optional, but these actions mean nothing without it.
def describe_task(world: World, body: Body) -> Body | None:
    """Do DescribeModelCompTask: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/ylxcncgpi."""
    task = world.tasks.find(required(body, "modelCompTaskId", str))
    return None if task is None else task.row("detail", world.now, world.behaviour)


def cancel_task(world: World, body: Body) -> None:
    """Do CancelModelCompTask: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd."""
    task = world.tasks.find(required(body, "modelCompTaskId", str))
    if task is None:
        return
    status = task.step(world.now).status
    if status in TERMINAL:
        refuse(world.behaviour.cancel_finished, f"The task {task.id} is {status}.")
    elif status != "stopping":
        end = TaskStep("stopped", after=world.behaviour.stopping_seconds)
        task.divert(world.now, TaskStep("stopping"), end)


def delete_task(world: World, body: Body) -> None:
    """Do DeleteModelCompTask: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/Slxcndblq."""
    task = world.tasks.find(required(body, "modelCompTaskId", str))
    if task is None:
        return
    status = task.step(world.now).status
    if status not in TERMINAL:
        refuse(world.behaviour.delete_unfinished, f"The task {task.id} is {status}.")
    world.tasks.remove(task.id)
    if world.behaviour.delete_takes_model:
        produced = [model.id for model in world.models.values() if model.spec.source_task_id == task.id]
        for model_id in produced:
            del world.models[model_id]


def describe_model(world: World, body: Body) -> Body | None:
    """Do DescribeModel: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Plw02jx3a."""
    model = world.models.find(required(body, "modelId", str))
    return None if model is None else model.row("detail", world.now, world.behaviour)
