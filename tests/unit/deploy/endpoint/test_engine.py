from importlib import metadata
from pathlib import Path

import pytest

from deploy.endpoint import engine


def argv(*, cpu: bool, max_model_len: int | None = None) -> list[str]:
    return engine.command(
        ["/venv/bin/vllm", "serve"],
        Path("/weights"),
        model_id="ft:m",
        host="127.0.0.1",
        port=8001,
        max_model_len=max_model_len,
        cpu=cpu,
    )


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_command_on_a_cpu() -> None:
    arguments = argv(cpu=True, max_model_len=512)
    assert arguments[:3] == ["/venv/bin/vllm", "serve", "/weights"]
    assert value(arguments, "--host") == "127.0.0.1"
    assert value(arguments, "--port") == "8001"
    assert value(arguments, "--served-model-name") == "ft:m"
    assert value(arguments, "--dtype") == "float32"
    assert value(arguments, "--gpu-memory-utilization") == "0.3"
    assert value(arguments, "--max-model-len") == "512"
    assert "--enforce-eager" in arguments


def test_command_on_a_gpu_leaves_its_defaults() -> None:
    arguments = argv(cpu=False)
    assert value(arguments, "--dtype") == "auto"
    assert value(arguments, "--tensor-parallel-size") == "1"
    for flag in ("--enforce-eager", "--gpu-memory-utilization", "--max-model-len"):
        assert flag not in arguments


def test_j11_the_whole_list_of_flags() -> None:
    """Golden: whoever changes a flag changes it here as well, and has thought of what it opens."""
    everywhere = {"--host", "--port", "--served-model-name", "--load-format", "--generation-config"}
    everywhere |= {"--max-num-seqs", "--no-enable-log-requests", "--disable-uvicorn-access-log"}
    everywhere |= {"--disable-fastapi-docs", "--max-model-len", "--dtype"}
    on_processors = {"--enforce-eager", "--gpu-memory-utilization", "--distributed-executor-backend"}
    for cpu, more in ((True, on_processors), (False, {"--tensor-parallel-size"})):
        given = [flag for flag in argv(cpu=cpu, max_model_len=512) if flag.startswith("--")]
        assert len(given) == len(set(given))
        assert set(given) == everywhere | more


def test_j11_nothing_dangerous_is_switched_on() -> None:
    for cpu in (True, False):
        arguments = argv(cpu=cpu)
        assert value(arguments, "--load-format") == "safetensors"
        assert "--no-enable-log-requests" in arguments
        for flag in ("--trust-remote-code", "--enable-lora", "--lora-modules", "--enable-log-requests"):
            assert flag not in arguments


def test_j11_no_profiler_no_developer_mode_and_no_adapters_by_any_flag() -> None:
    for cpu in (True, False):
        flags = " ".join(argv(cpu=cpu, max_model_len=512))
        for part in (
            "profil",
            "lora",
            "trust",
            "remote-code",
            "dev-mode",
            "middleware",
            "chat-template",
            "plugin",
        ):
            assert part not in flags


def test_j11_environment_is_offline_without_credentials_and_without_developer_doors() -> None:
    opened = {name: "1" for name in engine.FORBIDDEN}
    environment = engine.environment(
        {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "VLLM_PLUGINS": "theirs", **opened}, cpu=True
    )
    assert environment["PATH"] == "/bin"
    assert environment["HF_HUB_OFFLINE"] == environment["TRANSFORMERS_OFFLINE"] == "1"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert environment["VLLM_PLUGINS"] == ""
    assert not {"AWS_SECRET_ACCESS_KEY", *engine.FORBIDDEN} & set(environment)


@pytest.mark.slow
@pytest.mark.vllm
def test_j11_every_door_that_the_installed_vllm_has_is_named() -> None:
    """A new version's variables with such names have to be looked at: they are forbidden, or listed here."""
    from vllm import envs

    harmless = {
        "VLLM_ADAPTIVE_VERIFICATION_PROFILE_CONTEXT_LEN",
        "VLLM_CUSTOM_SCOPES_FOR_PROFILING",
        "VLLM_LORA_DISABLE_PDL",
        "VLLM_LORA_ENABLE_DUAL_STREAM",
        "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS",
        "VLLM_NVTX_SCOPES_FOR_PROFILING",
    }
    marks = (
        "DEV_MODE",
        "LORA",
        "INSECURE",
        "TRUST",
        "MODELSCOPE",
        "PROFIL",
        "DEBUG_LOG",
        "DEBUG_DUMP",
        "API_KEY",
    )
    suspicious = {name for name in envs.environment_variables if any(mark in name for mark in marks)}
    assert suspicious <= harmless | set(engine.FORBIDDEN)
    assert suspicious & set(engine.FORBIDDEN)


def test_threads_leave_a_core_free_unless_the_operator_says_otherwise() -> None:
    assert int(engine.environment({}, cpu=True)["OMP_NUM_THREADS"]) >= 1
    assert engine.environment({"OMP_NUM_THREADS": "7"}, cpu=True)["OMP_NUM_THREADS"] == "7"
    assert "OMP_NUM_THREADS" not in engine.environment({}, cpu=False)


@pytest.mark.parametrize(
    ("version", "cpu"), [("0.32.0+cpu", True), ("0.32.0", False), ("0.32.0+cu130", False)]
)
def test_the_build_is_told_from_its_version(monkeypatch: pytest.MonkeyPatch, version: str, cpu: bool) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert engine.runs_on_cpu() is cpu
