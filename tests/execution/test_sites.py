import subprocess
import sys

import pytest

from alflow.core.errors import SiteError
from alflow.execution.sites import Pool, Site, list_sites, load_site, local_pool


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


def test_every_shipped_site_loads_and_says_what_it_is():
    sites = list_sites()
    assert "local" in sites
    for name, summary in sites.items():
        assert load_site(name).name == name
        assert summary.endswith(".")


def test_a_misspelt_site_is_answered_with_the_closest_and_the_list():
    with pytest.raises(SiteError) as caught:
        load_site("locl")
    assert "did you mean 'local'?" in str(caught.value)
    assert "known sites: local" in str(caught.value)


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
        ("x = 1", "has no attribute 'site'"),
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


def test_a_kind_without_a_pool_is_refused():
    site = Site("small", {"train": Pool("gpu", 1, dict)})
    with pytest.raises(SiteError, match="no pool for tasks of kind 'label'"):
        site.pool_of("label")


def test_loading_a_site_imports_neither_parsl_nor_torch():
    code = (
        "import sys; from alflow.execution.sites import load_site; load_site('local');"
        "print(sorted({'parsl', 'torch', 'pyscf', 'ase'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
