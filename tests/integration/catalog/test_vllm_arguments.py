"""Every model's arguments, as a real vLLM reads them: a flag that it lacks would be a crash."""

from __future__ import annotations

import json
import subprocess

import pytest

from catalog import Engine, launch, load_catalog, use_of
from tests.support.vllm import need_vllm
from tools.vllm_part import HOME

READ = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser, wrong = make_arg_parser(FlexibleArgumentParser()), {}
for model, arguments in json.load(sys.stdin).items():
    try:
        read = parser.parse_args(arguments)
        validate_parsed_serve_args(read)
        if read.tool_call_parser:
            ToolParserManager.get_tool_parser(read.tool_call_parser)
        if read.reasoning_parser:
            ReasoningParserManager.get_reasoning_parser(read.reasoning_parser)
    except (Exception, SystemExit) as error:
        wrong[model] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps(wrong))
"""


@pytest.mark.real("vllm")
@pytest.mark.slow
@pytest.mark.feature("D1")
def test_vllm_understands_the_arguments_of_every_model() -> None:
    need_vllm()
    asked = {}
    for template in load_catalog():
        for one in [template, *(template.quantised(q.id) for q in template.quantisations)]:
            if one.engine is Engine.VLLM:
                use = use_of(one, context=None, concurrency=None)
                said = launch(one, use, 1).arguments
                asked[one.id] = [text.replace("{port}", "8000") for text in said]
    done = subprocess.run(
        [str(HOME / "bin" / "python"), "-c", READ],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=600,  # a busy machine takes minutes to import it
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {}
    assert len(asked) > 60
