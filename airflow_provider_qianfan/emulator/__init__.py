"""
A local stand-in for the part of the Baidu Qianfan platform API that compresses and deploys models.

For DAG authors without a Baidu account and for this provider's tests::

    python -m airflow_provider_qianfan.emulator --scenario demo

or, inside a test::

    from airflow_provider_qianfan.emulator.server import EmulatorServer

    with EmulatorServer("demo") as emulator:
        print(emulator.connection_uri)

It is written from the platform's documentation alone and shares no code with the provider, so that a
misreading in one of them shows. What the documentation leaves open is a switch
(:class:`.scenario.Behaviour`).

Needs ``starlette``, ``uvicorn`` and ``pyyaml``. Importing this package imports none of them.
"""
