"""Names of measured GPUs, as machines lay claim to them in their files."""

import pytest

from nmsim.errors import SpecError
from nmsim.machines import HARDWARE, load_hardware
from nmsim.machines.catalog import Hardware
from nmsim.measured import predict

CLAIMS = [(name, one) for name in HARDWARE for one in load_hardware(name).measured_as]


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    """A function from the text of a file of my-gpu, that joins the catalog, to nothing."""
    shipped = Hardware()._files()
    path = tmp_path / "my-gpu.yaml"

    def joined(text):
        path.write_text(f"based_on: v100\nsummary: mine\nsource: an example\n{text}")
        monkeypatch.setattr(Hardware, "_files", lambda self: {**shipped, path.stem: path})
        predict._claims.cache_clear()

    yield joined
    predict._claims.cache_clear()


@pytest.mark.parametrize(("name", "claim"), CLAIMS)
def test_a_machine_is_found_under_the_name_that_it_claims_and_no_other_is(name, claim):
    assert predict.machine_of(claim.gpu, " ".join(claim.variant)) == name
    assert predict.machine_of(" ".join([claim.gpu, *claim.variant]), "") == name
    for part in claim.without:
        assert not claim.fits(claim.gpu, " ".join([*claim.variant, part]))


def test_gpus_that_were_measured_are_machines_of_the_catalog():
    assert {name for name, _ in CLAIMS} >= {"a100-sxm4-80gb", "h100-sxm", "h200", "rtx3090", "v100"}
    assert load_hardware("a100-sxm4-80gb-documented").measured_as == ()
    assert load_hardware("hypothetical-4to8").measured_as == ()


@pytest.mark.parametrize(
    ("gpu", "variant"),
    [
        ("A100", "PCIe 40GB"),
        ("H100", "NVL"),
        ("NVIDIA H100 NVL", "93 GiB"),
        ("NVIDIA H200 NVL", ""),
        ("GeForce RTX 3090", "Ti"),
        ("GH200", "480GB"),
        ("RTX A1000", "SXM4-80GB"),
        ("", "A100"),
    ],
)
def test_a_variant_that_no_file_describes_has_no_machine(gpu, variant):
    assert predict.machine_of(gpu, variant) == ""


def test_a_machine_is_found_by_its_file_alone(catalog):
    assert predict.machine_of("MI300X", "OAM") == ""
    catalog('measured_as: [{gpu: MI300X, variant: [oam]}, {gpu: "V100", variant: [PCIe]}]\n')
    assert predict.machine_of("AMD MI300X", "OAM-192GB") == "my-gpu"
    assert predict.machine_of("MI300X", "") == ""
    assert predict.machine_of("Tesla V100-PCIE-16GB", "") == "my-gpu"
    assert predict.machine_of("V100", "SXM2-16GB") == "v100"


def test_the_longer_name_is_the_more_specific(catalog):
    catalog("measured_as: [{gpu: V100S}]\n")
    assert predict.machine_of("V100S", "") == "my-gpu"
    assert predict.machine_of("V100", "S") == "v100"


def test_two_machines_of_one_name_are_an_error_that_names_them(catalog):
    catalog('measured_as: [{gpu: A-100, variant: ["80"], without: [PCIe]}, {gpu: V100}]\n')
    assert predict.machine_of("A100", "SXM4-80GB") == "my-gpu"
    with pytest.raises(SpecError, match="gpu 'V100 16GB': my-gpu and v100 are measured as it"):
        predict.machine_of("V100", "16GB")


def test_a_claim_is_not_taken_over_from_a_base(catalog):
    catalog("")
    assert load_hardware("my-gpu").measured_as == ()
    assert predict.machine_of("V100", "") == "v100"


@pytest.mark.parametrize("claim", ["{gpu: ''}", "{gpu: '-'}", "{gpu: A, variant: [' ']}", "{}"])
def test_a_claim_without_a_name_is_refused(catalog, claim):
    catalog(f"measured_as: [{claim}]\n")
    with pytest.raises(SpecError, match=r"my-gpu.yaml: measured_as\[0\]\.(gpu|variant\[0\])"):
        load_hardware("my-gpu")
