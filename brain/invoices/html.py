"""A document as one HTML page: no script, nothing loaded, all text escaped."""

from __future__ import annotations

from functools import cache

from jinja2 import DictLoader, Environment, StrictUndefined, Template

from brain.invoices.view import Document, day, span

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ doc.title }} {{ doc.number }}</title>
<style>
body { font: 14px/1.45 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 }
table { border-collapse: collapse; width: 100%; margin: 1.5rem 0 }
th, td { text-align: left; padding: .35rem .5rem; border-bottom: 1px solid #ccc }
td.n, th.n { text-align: right; white-space: nowrap }
tfoot td { border: 0 } .total td { font-weight: 700; border-top: 2px solid #333 }
.parties { display: flex; gap: 3rem; margin: 1.5rem 0 } .address { white-space: pre-line }
small { color: #555 }
</style>
</head>
<body>
<h1>{{ doc.title }} {{ doc.number }}</h1>
<p>Issued {{ day(doc.issued_at) }}{% if doc.paper == "invoice" %} · use posted from
{{ day(doc.period_from) }} to {{ day(doc.period_until) }} (UTC){% endif %}</p>
<div class="parties">
{% for who, party in (("From", doc.seller), ("To", doc.customer)) %}
<div><small>{{ who }}</small><br><strong>{{ party.name }}</strong>
<div class="address">{{ party.address }}</div>
{% if party.country %}<div>{{ party.country }}</div>{% endif %}
{% if party.tax_id %}<div>Tax id {{ party.tax_id }}</div>{% endif %}
{% if who == "To" %}<small>{{ doc.customer_account }}</small>{% endif %}
</div>
{% endfor %}
</div>
<table>
<thead><tr><th>What</th><th>When (UTC)</th><th class="n">Quantity</th><th class="n">Amount</th></tr>
</thead>
<tbody>
{% for line in doc.lines %}
<tr><td>{{ line.title }}</td><td>{{ span(line) }}</td><td class="n">{{ line.quantity }}</td>
<td class="n">{{ line.amount }}</td></tr>
{% endfor %}
</tbody>
<tfoot>
<tr><td colspan="3" class="n">Net</td><td class="n">{{ doc.net }}</td></tr>
{% if doc.paper != "receipt" %}
<tr><td colspan="3" class="n">{{ doc.tax_name }} {{ doc.tax_rate }}</td>
<td class="n">{{ doc.tax }}</td></tr>
{% endif %}
<tr class="total"><td colspan="3" class="n">Total ({{ doc.currency }})</td>
<td class="n">{{ doc.total }}</td></tr>
</tfoot>
</table>
<p>{{ doc.settled }}</p>
{% if doc.note %}<p>{{ doc.note }}</p>{% endif %}
</body>
</html>
"""


@cache
def _template() -> Template:
    loader = DictLoader({"page.html": PAGE})
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.globals.update(day=day, span=span)
    return environment.get_template("page.html")


def as_html(doc: Document) -> str:
    return _template().render(doc=doc)
