import os


def greet(name: str) -> str:
    return f"{os.environ['APP_GREETING']}, {name}!"
