"""
A local stand-in for the part of the Baidu Qianfan platform API that compresses and deploys models.

Imports nothing else of the provider's. To run, it needs ``starlette``, ``uvicorn`` and ``pyyaml``.
Never shares code with the provider: if one of the two misreads the documentation, a test shows it.

For DAG authors without a Baidu account and for this provider's tests::

    python -m airflow_provider_qianfan.emulator --scenario demo

or, inside a test::

    from airflow_provider_qianfan.emulator.server import EmulatorServer

    with EmulatorServer("demo") as emulator:
        print(emulator.connection_uri)

What the documentation leaves open is a switch (:class:`.behaviour.Behaviour`).
"""
