"""The report of a study: gathered numbers, tables, figures, words, and one page that holds them.

outcome folders → gather → tables → figures, words → page
"""
