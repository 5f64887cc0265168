from tests.agent.contract import BatchSystemContract, fifo  # noqa: F401 - a fixture


class TestLocal(BatchSystemContract):
    """The `local` batch system keeps the contract."""
