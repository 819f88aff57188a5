from curator_assets.report.page.rendering import _environment


def test_what_comes_from_data_is_text_on_the_page_and_can_be_encoded():
    page = _environment().from_string("<a title=\"{{ name }}\" alt='{{ name }}'>{{ name }}</a>")
    text = page.render(name="\"'<b>\x1b\u202e\ud800\n")
    shown = r"&#34;&#39;&lt;b&gt;\x1b\u202e\ud800" + "\n"
    assert text == f"<a title=\"{shown}\" alt='{shown}'>{shown}</a>"
    text.encode()
