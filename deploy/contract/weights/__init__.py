"""The model-directory format: an ordinary Hugging Face directory in safetensors, from untrusted hands.

A facade: the names below are the API. Files are allowed by name, JSON is read strictly, safetensors
headers are read by our own bounded reader, and nothing is executed or loaded. A loader gets the weights
and files that are written here, never the configs and tokenizers that came. Everything that is wrong
is a :class:`ModelRefused` with a stable code and the file's name.
"""

from deploy.contract.weights.child import check_in_child
from deploy.contract.weights.config import ModelConfig
from deploy.contract.weights.config import check_config
from deploy.contract.weights.directory import ModelDirectory
from deploy.contract.weights.directory import check_directory
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.error import ModelRefusedCode
from deploy.contract.weights.families import Architecture
from deploy.contract.weights.header import Tensor
from deploy.contract.weights.header import read_file_header
from deploy.contract.weights.header import read_header
from deploy.contract.weights.names import check_name
from deploy.contract.weights.names import check_names
from deploy.contract.weights.rewriting import Rewriting
from deploy.contract.weights.rewriting import rewrite_directory

__all__ = [
    "Architecture",
    "ModelConfig",
    "ModelDirectory",
    "ModelRefused",
    "ModelRefusedCode",
    "Rewriting",
    "Tensor",
    "check_config",
    "check_directory",
    "check_in_child",
    "check_name",
    "check_names",
    "read_file_header",
    "read_header",
    "rewrite_directory",
]
