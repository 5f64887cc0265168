"""What every room needs: the database session, authorisation, errors on HTTP, pages' frame."""
