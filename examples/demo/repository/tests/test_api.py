import unittest

from services.api.listing import asked_page, has_more, listing


class ListingTest(unittest.TestCase):
    def test_a_page_is_cut_out_of_the_items(self) -> None:
        answer = listing(list(range(45)), "page=3&size=20")

        self.assertEqual(answer, {"items": [40, 41, 42, 43, 44], "pages": 3})
        self.assertTrue(has_more(answer, 2))
        self.assertFalse(has_more(answer, 3))
        self.assertFalse(has_more(None, 1))

    def test_filters_come_before_pages(self) -> None:
        answer = listing(list(range(6)), "page=1&size=2", filters=[lambda item: item % 2])

        self.assertEqual(answer, {"items": [1, 3], "pages": 2})

    def test_nonsense_asks_for_the_first_page(self) -> None:
        self.assertEqual(asked_page("page=many"), {"number": 1, "size": 20})
        self.assertEqual(asked_page("page=-4&size=9999"), {"number": 1, "size": 100})
