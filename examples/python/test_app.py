from app import greet


def test_greet() -> None:
    assert greet("moat") == "Hello, moat!"
