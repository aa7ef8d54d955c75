"""The connection to a cluster: what is refused, in one line."""

import sys

import pytest

from cpu1.cli import main
from cpu1.cluster import check_place, connected
from cpu1.errors import UserError


@pytest.mark.parametrize("on", ["ray", "ray://head:10001", "ray://10.0.0.1:10001", "ray://[::1]:10001"])
def test_clusters_have_two_forms(on):
    assert check_place(on) == on


@pytest.mark.parametrize("on", ["slurm", "", "ray://", "ray://head", "ray://head:", "ray://:1", "head:10001", "Ray"])
def test_other_names_are_refused(on):
    with pytest.raises(UserError, match="there are ray and ray://HOST:PORT"):
        check_place(on)


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'cpu1\[ray\]'"), connected("ray"):
        pass
    assert main(["study", "--on", "ray", "-o", str(tmp_path / "study")]) == 2
    assert capsys.readouterr().err == "cpu1: Ray is not installed: pip install 'cpu1[ray]'\n"
    assert not (tmp_path / "study").exists()


def test_an_address_needs_a_cluster(tmp_path, capsys):
    assert main(["study", "--store", "s3://bucket/study", "-o", str(tmp_path / "study")]) == 2
    assert "add --on ray" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("ray", reason="needs cpu1[ray]")
    monkeypatch.setenv("RAY_ADDRESS", "no-such-host.invalid:6379")
    with pytest.raises(UserError, match=r"no-such-host.invalid:6379: no Ray cluster answers"), connected("ray"):
        pass
