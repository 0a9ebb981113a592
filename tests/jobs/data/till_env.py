"""An environment written against verifiers 0.4: a till with two tools, state, rewards, a stop."""

import verifiers.v1 as vf


class TillData(vf.TaskData):
    first: int
    second: int


class TillState(vf.State):
    total: int = 0
    entries: list[int] = []


class TillTools(vf.Toolset[vf.ToolsetConfig, TillState]):
    TOOL_PREFIX = "till"

    async def setup_task(self, task):
        self.most = task.first + task.second

    @vf.tool
    def enter(self, amount: int) -> str:
        """Enter an amount into the till.

        Args:
            amount: what is paid, in cents
        """
        if amount > self.most:
            raise ValueError(f"more than {self.most} cannot be paid")
        self.state.total += amount
        self.state.entries = [*self.state.entries, amount]
        return f"entry {len(self.state.entries)}"

    @vf.tool
    async def total(self) -> dict:
        """What is in the till."""
        return {"total": self.state.total}


class TillTask(vf.Task[TillData, TillState]):
    @classmethod
    def toolsets(cls, config):
        return [TillTools(vf.ToolsetConfig())]

    @vf.reward(weight=1.0)
    async def right(self, trace: vf.Trace) -> float:
        return float(str(self.data.first + self.data.second) in trace.last_reply)

    @vf.reward(weight=0.5)
    async def entered(self, trace: vf.Trace) -> float:
        return float(sorted(trace.state.entries) == sorted([self.data.first, self.data.second]))

    @vf.metric
    async def turns(self, trace: vf.Trace) -> float:
        return float(trace.num_turns)

    @vf.stop
    async def full(self, trace: vf.Trace) -> bool:
        return len(trace.state.entries) >= 3


class TillConfig(vf.TasksetConfig):
    num_tasks: int = 40
    most: int = 9


class TillTaskset(vf.Taskset[TillTask, TillConfig]):
    def load(self):
        for number in range(self.config.num_tasks):
            first, second = number % self.config.most + 1, number // self.config.most + 1
            yield TillTask(
                TillData(
                    prompt=f"What is {first} plus {second}?",
                    system_prompt="Answer with the number alone.",
                    first=first,
                    second=second,
                ),
                self.config.task,
            )


__all__ = ["TillTaskset"]
