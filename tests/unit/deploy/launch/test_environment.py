from pathlib import Path

from deploy.launch.environment import inherit


def test_only_the_list_is_inherited() -> None:
    service = {
        "PATH": "/bin",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "TEMPER_API_KEY": "secret",
        "TEMPER_HOME": "/var/temper",
        "TEMPER_S3_SSE": "aws:kms",
        "LD_PRELOAD": "/evil.so",
        "DATABASE_URL": "postgresql://",
    }
    assert inherit(service, scratch=Path("/s")) == {
        "PATH": "/bin",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "TEMPER_S3_SSE": "aws:kms",
        "TMPDIR": "/s",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def test_temporary_files_go_to_the_scratch_directory_whatever_the_service_uses() -> None:
    assert inherit({"TMPDIR": "/elsewhere"}, scratch=Path("/s"))["TMPDIR"] == "/s"


def test_threads_sleep_while_they_wait_unless_the_operator_says_otherwise() -> None:
    assert inherit({}, scratch=Path("/s"))["OMP_WAIT_POLICY"] == "PASSIVE"
    assert inherit({"OMP_WAIT_POLICY": "ACTIVE"}, scratch=Path("/s"))["OMP_WAIT_POLICY"] == "ACTIVE"


def test_sockets_stay_short_unless_the_operator_chose_a_place() -> None:
    deep = Path("/" + "x" * 100)
    assert len(inherit({}, scratch=deep)["VLLM_RPC_BASE_PATH"]) < 64
    assert inherit({"VLLM_RPC_BASE_PATH": "/run/v"}, scratch=deep)["VLLM_RPC_BASE_PATH"] == "/run/v"
