import shutil
import subprocess
import sys

import pytest

from alflow.core.errors import SiteError
from alflow.execution.placeholders import placeholders, site_text
from alflow.execution.schedulers import pbs_pool, seconds_of
from alflow.execution.sites import (
    Pool,
    Site,
    list_sites,
    load_site,
    local_pool,
    site_file,
    usable_site,
)


def test_the_local_site_uses_the_cores_of_this_machine(monkeypatch):
    monkeypatch.delenv("ALFLOW_LOCAL_WORKERS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 5})
    assert load_site("local").pool_of("label").workers == 3
    assert local_pool(threads=2).workers == 1
    assert local_pool(threads=8).workers == 1


def test_the_number_of_workers_can_be_overridden(monkeypatch):
    monkeypatch.setenv("ALFLOW_LOCAL_WORKERS", "7")
    assert load_site("local").pool_of("train").workers == 7
    monkeypatch.setenv("ALFLOW_LOCAL_WORKERS", "many")
    with pytest.raises(SiteError, match="ALFLOW_LOCAL_WORKERS is 'many'"):
        load_site("local")
    monkeypatch.setenv("ALFLOW_LOCAL_WORKERS", "0")
    with pytest.raises(SiteError, match="at least one"):
        load_site("local")


SHIPPED = {
    *("local", "slurm_gpu_cpu", "perlmutter", "frontier", "polaris", "aurora"),
    *("summit_like", "chicoma", "darwin", "kubernetes"),
}


def test_every_shipped_site_loads_and_says_what_it_is():
    sites = list_sites()
    assert sites.keys() >= SHIPPED
    for name, summary in sites.items():
        site = load_site(name, is_draft=True)
        assert site.name == name
        assert summary.endswith(".")
        assert all(map(site.serves, ("build", "label", "train", "sample", "validate")))


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_shipped_site_says_whether_it_ran_on_a_live_scheduler(name):
    _, text = site_text(site_file(name))
    ran = {"local": "Run in the tests", "slurm_gpu_cpu": "Run on a live scheduler: a Slurm"}
    assert ran.get(name, "Not run on a live scheduler yet") in text


@pytest.mark.parametrize("name", sorted(SHIPPED - {"local"}))
def test_training_and_sampling_go_to_gpus_and_all_else_to_cpus(name):
    site = load_site(name, is_draft=True)
    assert site.pool_of("train").label == site.pool_of("sample").label == "gpu"
    others = {site.pool_of(kind).label for kind in ("build", "label", "validate")}
    assert others == {"cpu"}


@pytest.fixture
def own(tmp_path, monkeypatch):
    folder = tmp_path / "sites"
    folder.mkdir()
    monkeypatch.setenv("ALFLOW_SITES", str(folder))
    return folder


def test_placeholders_keep_a_site_from_starting(own):
    path = own / "perlmutter.py"
    shutil.copy(site_file("perlmutter"), path)
    [line] = [
        number
        for number, text in enumerate(path.read_text().splitlines(), 1)
        if "YOUR_ACCOUNT" in text
    ]
    with pytest.raises(SiteError) as caught:
        load_site("perlmutter")
    assert f"{path}:{line}: YOUR_ACCOUNT: project that pays" in str(caught.value)
    assert "write what is missing" in str(caught.value)
    path.write_text(path.read_text().replace("YOUR_ACCOUNT", "m1234"))
    assert load_site("perlmutter").name == "perlmutter"
    path.unlink()
    with pytest.raises(SiteError, match="alflow sites copy perlmutter"):
        load_site("perlmutter")


def test_placeholders_are_strings_and_their_comments_say_what_to_write(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        "# YOUR_COMMENT is none\n"
        "A = 'YOUR_A'  # the first\n"
        "B = f(YOUR_NAME, 'YOUR_B')\n"
        'C = """\nmodule load YOUR_C\n"""  # lines\n'
    )
    found = [(one.line, one.word, one.meaning) for one in placeholders(path)]
    assert found == [(2, "YOUR_A", "the first"), (3, "YOUR_B", ""), (5, "YOUR_C", "")]
    path.write_text("A = 'YOUR_")
    assert placeholders(path) == []


def test_ones_own_sites_are_found_by_name_and_hide_the_others(own):
    text = (
        '"""Mine."""\nfrom alflow.execution.sites import Site, local_pool\n'
        "def site(): return Site('mine', {'*': local_pool()})\n"
    )
    (own / "mine.py").write_text(text)
    assert list_sites()["mine"] == "Mine."
    assert load_site("mine").name == "mine"
    (own / "local.py").write_text(text)
    assert load_site("local").name == "mine"


def test_a_misspelt_site_is_answered_with_the_closest_and_the_list():
    with pytest.raises(SiteError) as caught:
        load_site("locl")
    assert "did you mean 'local'?" in str(caught.value)
    assert "known sites: aurora, " in str(caught.value)


def test_a_site_file_is_loaded_by_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from alflow.execution.sites import Site, local_pool\n"
        "def site():\n"
        "    gpu = local_pool('gpu', workers=1, threads=4)\n"
        "    pools = {'train': gpu, 'sample': gpu, '*': local_pool(workers=3)}\n"
        "    return Site('mine', pools, {'A': 'b'})\n"
    )
    site = load_site(str(path))
    assert [pool.label for pool in site.distinct_pools()] == ["gpu", "local"]
    assert site.pool_of("sample") is site.pool_of("train")
    assert site.pool_of("label").workers == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def site(): return 3", r"returned a int, not a Site"),
        ("x = 1", "it has no function site"),
        ("def site(: pass", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
        (
            "from alflow.execution.sites import *\ndef site(): return local_pool('a b')",
            "plain word",
        ),
        (
            "from alflow.execution.sites import *\n"  # noqa: ISC004 - one text
            "pools = {'a': local_pool(workers=1), '*': local_pool(workers=2)}\n"
            "def site(): return Site('x', pools)",
            "two pools with one label",
        ),
        (
            "from alflow.execution.sites import *\n"  # noqa: ISC004 - one text
            "def site(): return Site('x', {'trian': local_pool()})",
            r"there is no task kind 'trian'(.|\n)*did you mean 'train'",
        ),
        (
            "from alflow.execution.sites import *\n"  # noqa: ISC004 - one text
            "def site(): return Site('x', {'train:larger': local_pool()})",
            "no pool runs tasks of kind .*label",
        ),
    ],
)
def test_a_broken_site_file_is_an_error_of_the_site(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(SiteError, match=message):
        load_site(str(path))


def test_a_missing_site_file_is_named(tmp_path):
    with pytest.raises(SiteError, match=r"there is no site file .*gone\.py"):
        load_site(str(tmp_path / "gone.py"))


def test_a_strategy_that_cancels_waiting_blocks_is_refused():
    with pytest.raises(SiteError, match="strategies are 'simple' and 'none'"):
        Site("x", {"*": Pool("gpu", 1, dict)}, strategy="htex_auto_scale")


def test_a_kind_without_a_pool_is_refused():
    site = Site("small", {"train": Pool("gpu", 1, dict)})
    with pytest.raises(SiteError, match="no pool for tasks of kind 'label'"):
        site.pool_of("label")


@pytest.mark.parametrize("text", ["1:30", "00:00:00", "01:60:00", "an hour", "-1:00:00"])
def test_a_length_of_time_is_hours_minutes_seconds(text):
    assert seconds_of("01:30:05") == 5405
    with pytest.raises(SiteError, match=r"as in 01:30:00"):
        pbs_pool("x", walltime=text)


def test_a_block_is_longer_than_its_longest_task():
    with pytest.raises(SiteError, match="too short for its longest task"):
        pbs_pool("x", walltime="01:00:00", longest_task="01:00:00")


def test_loading_a_site_imports_neither_parsl_nor_torch():
    code = (
        "import sys; from alflow.execution.sites import list_sites, load_site;"
        "[load_site(name, is_draft=True) for name in list_sites()];"
        "print(sorted({'parsl', 'torch', 'pyscf', 'ase'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_a_second_try_with_more_may_have_a_pool_of_its_own():
    small, large = local_pool("small", workers=1), local_pool("large", workers=1)
    site = Site("x", {"label:larger": large, "*": small})
    assert site.pool_of("label") is small
    assert site.pool_of("label", larger=True) is large
    assert site.pool_of("train", larger=True) is small
    assert set(site.distinct_pools()) == {small, large}


SLURM = """from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool

def site():
    return Site("cluster", pools={"*": slurm_pool("nodes", max_blocks=BLOCKS)})
"""


def test_a_site_is_used_only_where_its_scheduler_is(tmp_path, monkeypatch):
    path = tmp_path / "cluster.py"
    path.write_text(SLURM.replace("BLOCKS", "2"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SiteError, match="'nodes' needs sbatch, squeue, scancel, not"
    ) as told:
        usable_site(str(path))
    assert "login node" in told.value.next_step
    for name in ("sbatch", "squeue", "scancel"):
        (tmp_path / name).touch(mode=0o755)
    assert usable_site(str(path)).name == "cluster"
    assert usable_site("local").name == "local"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("BLOCKS", "0", "cluster.py:5: pool 'nodes': a number of"),
        ("BLOCKS", "many", "cluster.py:5: NameError: name 'many'"),
        ("import Site", "import Sites", "cluster.py:1: ImportError"),
        ("site():", "site()", "cluster.py:4: SyntaxError"),
        ("def site", "def sites", "cluster.py: it has no function site()"),
    ],
)
def test_a_mistake_in_a_site_file_is_told_with_its_line(
    tmp_path, monkeypatch, old, new, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.py").write_text(SLURM.replace(old, new))
    with pytest.raises(SiteError) as told:
        load_site("cluster.py")
    assert told.value.message.startswith(message)
    assert told.value.consequence == "Nothing was started."
