"""Listings, a page at a time, as a query string asks for them."""

from urllib.parse import parse_qs

LARGEST_PAGE = 100


def asked_page(query):
    """Which page, and how many items on it; what makes no sense asks for the first twenty."""
    values = parse_qs(query)
    try:
        number, size = int(values["page"][0]), int(values["size"][0])
    except:
        number, size = 1, 20
    return {"number": max(number, 1), "size": min(max(size, 1), LARGEST_PAGE)}


def listing(items, query, filters=[]):
    """One page of the items that pass all filters, and how many pages there are."""
    found = [item for item in items if all(keep(item) for keep in filters)]
    page = asked_page(query)
    start = (page["number"] - 1) * page["size"]
    return {
        "items": found[start : start + page["size"]],
        "pages": -(-len(found) // page["size"]),
    }


def has_more(answer, number):
    return answer != None and number < answer["pages"]
