"""
A local stand-in for the part of the Baidu Qianfan platform API that compresses and deploys models.

It imports nothing else of the provider, and needs ``starlette``, ``uvicorn`` and ``pyyaml``. It never shares
code with the provider: if one of the two misreads the documentation, a test shows it.

DAG authors without a Baidu account, and the tests of this provider, use it from the command line::

    python -m airflow_provider_qianfan.emulator --scenario demo

or in a test::

    from airflow_provider_qianfan.emulator.server import EmulatorServer

    with EmulatorServer("demo") as emulator:
        print(emulator.connection_uri)

If the documentation leaves something open, :class:`.behaviour.Behaviour` has a switch for it.
"""
