"""docker-compose.yml's vLLM commands, read by vLLM itself: no GPU is needed to find a wrong flag."""

import json
import subprocess

import pytest
import yaml

from app.settings import PROJECT
from experts.local.model_folders import default_python

pytestmark = pytest.mark.vllm

# Runs in vLLM's environment: parses each command as the server would and looks its parsers up.
READ = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())
read = {}
for name, command in json.load(sys.stdin).items():
    args = parser.parse_args(command)
    ToolParserManager.get_tool_parser(args.tool_call_parser)
    if args.reasoning_parser:
        ReasoningParserManager.get_reasoning_parser(args.reasoning_parser)
    read[name] = [args.model, args.max_model_len, args.tensor_parallel_size]
print(json.dumps(read))
"""


def test_vllm_understands_the_command_of_every_expert() -> None:
    python = default_python()
    if not python.is_file():
        pytest.skip(f"no vLLM environment at {python}; `make setup` makes it")
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    commands = {
        name: service["command"]
        for name, service in services.items()
        if service["image"].startswith("vllm/vllm-openai:")
    }
    run = subprocess.run(
        [str(python), "-c", READ], input=json.dumps(commands), capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr[-2000:]
    read = json.loads(run.stdout.splitlines()[-1])
    assert read == {
        "small": ["mistralai/Ministral-3-8B-Instruct-2512", 65536, 1],
        "coder": ["Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8", 131072, 1],
        "reasoner": ["openai/gpt-oss-120b", 131072, 2],
        "large": ["Qwen/Qwen3.5-122B-A10B-FP8", 131072, 4],
    }
