"""Optional packages: found, missing, and there but broken."""

import json
import sys

import numpy as np
import pytest

from fnn.extras import package_folder, require


def test_an_installed_module_is_returned():
    assert require("json", "experiments") is json
    assert require("json.decoder", "experiments") is json.decoder


@pytest.mark.parametrize("module", ["no_such_module_anywhere", "json.no_such_part"])
def test_a_missing_module_names_the_command_that_installs_it(module):
    with pytest.raises(ImportError, match=r'pip install "fnn\[experiments\]"') as caught:
        require(module, "experiments")
    assert 'pip install -e ".[experiments]"' in str(caught.value)  # in a checkout
    assert repr(module) in str(caught.value)
    assert caught.value.name == module


def test_a_broken_module_keeps_its_own_reason(tmp_path, monkeypatch):
    (tmp_path / "broken_for_fnn.py").write_text("import the_part_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"the_part_that_is_missing.*pip install") as caught:
        require("broken_for_fnn", "test")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_an_error_that_is_no_import_error_is_not_dressed_up(tmp_path, monkeypatch):
    (tmp_path / "raising_for_fnn.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        require("raising_for_fnn", "test")


def test_the_folder_of_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    (tmp_path / "unimported_for_fnn").mkdir()
    (tmp_path / "unimported_for_fnn" / "__init__.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert package_folder("unimported_for_fnn", "test") == tmp_path / "unimported_for_fnn"
    assert "unimported_for_fnn" not in sys.modules
    assert str(package_folder("numpy", "test")) in np.__file__


@pytest.mark.parametrize("package", ["no_such_package_anywhere", "this"])
def test_no_folder_names_the_command_that_installs_it(package):
    with pytest.raises(ImportError, match=rf'{package}.*pip install "fnn\[experiments\]"'):
        package_folder(package, "experiments")
