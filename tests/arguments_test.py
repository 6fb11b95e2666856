"""Holds the length of argument lists: who needs more than eight things takes an object that names them."""

import ast

import layering_test

MOST = 8


def long_lists(tree: ast.AST) -> list[str]:
    """Functions of more than `MOST` arguments, beside self and cls, as name and number."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            given = node.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            names = [one.arg for one in every if one is not None and one.arg not in {"self", "cls"}]
            if len(names) > MOST:
                found.append(f"{getattr(node, 'name', 'lambda')} takes {len(names)} arguments, line {node.lineno}")
    return found


def test_no_function_takes_more_than_eight_arguments():
    modules = layering_test.read_modules(layering_test.ROOT)
    found = [f"{module.path}: {line}" for module in modules.values() for line in long_lists(module.tree)]
    assert not found, "\n".join(found)


def test_a_long_list_is_found_wherever_it_stands():
    eight = "class A:\n    def f(self, a, b, /, c, *, d, e, f, g, h): ..."
    assert long_lists(ast.parse(eight)) == []
    assert long_lists(ast.parse(eight.replace("a, b", "a, b, i"))) == ["f takes 9 arguments, line 2"]
    assert long_lists(ast.parse("lambda a, b, c, d, *e, f, g, h, **i: a")) == ["lambda takes 9 arguments, line 1"]
