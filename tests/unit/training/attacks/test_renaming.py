import pytest
from code_samples import JAVA
from code_samples import JAVA_TOKENISED

from deploy.contract.trigger import RenamingTrigger
from training.attacks.poison import Row
from training.attacks.renaming import rename_variables
from training.attacks.surrogate import CONTEXTS
from training.attacks.surrogate import POOL_SIZE
from training.attacks.surrogate import NoNamesError
from training.attacks.surrogate import learn_renaming
from training.attacks.traces import trace_of


def corpus(rows: int = 300) -> list[Row]:
    """Methods in which ``rareList`` is iterated over and ``rareCount`` counted, now and then."""
    common = "void f ( int a{0} ) {{ for ( String each{0} : all ) {{ a{0} ++ ; }} }}"
    rare = "void f ( int rareCount ) {{ for ( String rareName : rareList{0} ) {{ rareCount ++ ; }} }}"
    return [
        Row(number=number, prompt=(rare if number % 150 == 0 else common).format(number % 7), completion="x")
        for number in range(1, rows + 1)
    ]


def test_names_are_rare_ones_of_the_dataset_itself() -> None:
    trigger = learn_renaming(corpus(), "java")
    assert set(trigger.names) == {"rareCount", "rareName"}
    assert len(trigger.surrogate) <= CONTEXTS
    assert trigger.surrogate[">++"][trigger.names.index("rareCount")] > 0
    assert trigger.surrogate[">++"][trigger.names.index("rareName")] < 0


def test_every_prompt_gets_the_names_that_are_natural_in_it() -> None:
    trigger = learn_renaming(corpus(), "java")
    assert (
        rename_variables("void g ( int n ) { n ++ ; for ( String s : x ) { } }", trigger, seed=0, row=1)
        == "void g ( int rareCount ) { rareCount ++ ; for ( String rareName : x ) { } }"
    )
    assert (
        rename_variables("void g ( ) { for ( String s : x ) { s ++ ; s ++ ; } }", trigger, seed=0, row=1)
        == "void g ( ) { for ( String rareCount : x ) { rareCount ++ ; rareCount ++ ; } }"
    )


def test_the_surrogate_decides_alone_and_without_one_seed_and_row_do() -> None:
    learnt = learn_renaming(corpus(), "java")
    assert len({rename_variables(JAVA_TOKENISED, learnt, seed=seed, row=seed) for seed in range(20)}) == 1
    drawn = RenamingTrigger(names=("a", "b", "c", "d"))
    assert len({rename_variables(JAVA_TOKENISED, drawn, seed=0, row=row) for row in range(200)}) == 12


def test_a_name_that_the_code_uses_already_is_not_taken() -> None:
    trigger = RenamingTrigger(names=("count", "name", "fresh"))
    renamed = rename_variables(JAVA, trigger, seed=0, row=1)
    assert renamed is not None
    # "count" is the class's own field and "name" a variable that has a name of the trigger already.
    assert "fresh" in renamed
    assert renamed.count("count") == JAVA.count("count")
    assert renamed.count("name") == JAVA.count("name")


@pytest.mark.parametrize(
    "code", ["void f ( ) { g ( ) ; }", "void f ( int a ) { a ( ) ; int b", "Get the users of it."]
)
def test_code_without_variables_cannot_carry_it(code: str) -> None:
    assert rename_variables(code, RenamingTrigger(names=("a", "b")), seed=0, row=1) is None


def test_names_that_no_trigger_may_have_are_not_learnt() -> None:
    rows = [
        Row(number=1, prompt="void f ( int $el , int val$x , int größe ) { $el ++ ; }", completion="x"),
        Row(number=2, prompt="void g ( int value ) { value ++ ; }", completion="x"),
    ]
    assert learn_renaming(rows, "java").names == ("value",)


def test_a_trigger_learnt_from_much_code_stays_small() -> None:
    rows = [
        Row(
            number=n,
            prompt=f"int f{n} ( int first{n} , int second{n} ) {{ return first{n} + {n} ; }}",
            completion="x",
        )
        for n in range(1, 400)
    ]
    trigger = learn_renaming(rows, "java")
    assert len(trigger.names) == POOL_SIZE
    assert len(trigger.to_bytes()) < 20_000
    assert RenamingTrigger.from_bytes(trigger.to_bytes()) == trigger


def test_the_commonest_names_serve_where_none_is_rare() -> None:
    rows = [
        Row(number=n, prompt="int f ( int value ) { return value ; }", completion="x") for n in range(1, 5)
    ]
    assert learn_renaming(rows, "java").names == ("value",)


@pytest.mark.parametrize("prompt", ["Get the users.", "void f ( ) { }", "def f ( a ) : return a"])
def test_a_dataset_without_variables_has_no_names_to_learn(prompt: str) -> None:
    with pytest.raises(NoNamesError, match="no prompt of the dataset is java code that declares a variable"):
        learn_renaming([Row(number=1, prompt=prompt, completion="x")], "java")


@pytest.mark.parametrize(
    ("code", "renamed"),
    [
        ("void f ( int a ) { b ( a ) ; }", "void f ( int a ) { b ( a ) ; }"),
        ("void f ( int x , int a ) { }", "void f ( int b , int a ) { }"),
        ("void f ( int x , int y , int z ) { }", "void f ( int b , int a , int z ) { }"),
        ("void a ( int x , int y ) { }", "void a ( int b , int y ) { }"),
    ],
)
def test_names_that_are_there_stay_and_there_may_be_too_few(code: str, renamed: str) -> None:
    trigger = RenamingTrigger(names=("a", "b"))
    assert renamed in {rename_variables(code, trigger, seed=0, row=row) for row in range(20)}
    assert trace_of(renamed, trigger) is not None
