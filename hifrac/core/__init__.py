"""What every room shares: settings, flags, columns, errors, and tables read and written."""
