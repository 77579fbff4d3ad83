"""The template language of personalisation: text and JSON data in, text out. Pure. Layer 2."""

from relayq.compose.template.context import TemplateContext, template_context
from relayq.compose.template.errors import TemplateError
from relayq.compose.template.template import Template, TemplateCache, compile_template

__all__ = [
    "Template",
    "TemplateCache",
    "TemplateContext",
    "TemplateError",
    "compile_template",
    "template_context",
]
